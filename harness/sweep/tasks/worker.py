"""A worker: trains the runs of a task as part of its sweep, delivers their records, and writes a result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.config import Config
from harness.sweep.display import Display
from harness.sweep.plan import Run
from harness.sweep.resume import Store
from harness.sweep.runner import Sweep
from harness.sweep.scan_loop import PreparedScan
from harness.sweep.tasks.files import LOCK_SECONDS, StatusReporter, TaskFiles
from harness.sweep.tasks.local_table import local_copy
from harness.sweep.tasks.order import Order, TaskRefused
from harness.sweep.tasks.scaling import passes_of


def work(files: TaskFiles, order: Order, configs: Sequence[Config], console: Console) -> None:
    """Train the runs of a task, given their `configs`; continue runs that an earlier worker started.

    Raises:
        TaskRefused: This worker's data or its source of a model differs from that of the driver.
        TaskHeld: Another worker holds the task.
    """
    with files.hold(LOCK_SECONDS):
        # If a job was submitted twice, the second must not replace the result with what the store still has.
        if files.result():
            return
        display = TaskDisplay(console, files)
        with TaskSweep(display, files, order) as sweep:
            sweep.train(configs, [run.command for run in order.runs])


class TaskSweep(Sweep):
    """The part of a sweep that one worker trains."""

    def __init__(self, display: Display, files: TaskFiles, order: Order) -> None:
        """Store the runs to train, and the file for the result."""
        super().__init__(display, command=order.command, membership=order.membership)
        self._files, self._order = files, order

    def _prepare(self, runs: Sequence[Run]) -> None:
        """Give runs the same names as in the sweep."""
        assert self._membership
        for run, ordered in zip(runs, self._order.runs, strict=True):
            if run.signature != ordered.signature:
                raise TaskRefused(
                    f"task {self._order.number}: {ordered.name} is a different run here: its data or its model's "
                    "source differs from the driver's."
                )
            run.name, run.sweeps, run.search = ordered.name, [self._membership.sweep_id], self._order.search

    def _placed(self, scans: Sequence[PreparedScan]) -> Sequence[PreparedScan]:
        """Copy the tables to the node's own disk first, if that saves time."""
        by_table: dict[Path, list[PreparedScan]] = {}
        for scan in scans if self._order.scratch else ():
            by_table.setdefault(scan.lanes[0][0].table.folder, []).append(scan)
        has_copies = [self._read_copy(own, self._order.scratch) for own in by_table.values()]
        return () if any(has_copies) else scans

    def _read_copy(self, scans: Sequence[PreparedScan], scratch: str) -> bool:
        """Let the runs of scans read a copy of their table; return False if that would take longer."""
        runs = [run for scan in scans for lane in scan.lanes for run in lane]
        try:
            passes = passes_of(scans, scratch)
        except OSError as error:
            self._say(f"data:   the table is not copied to {scratch} ({error.strerror})")
            return False
        self._say(f"data:   {passes.describe()}")
        if passes.pays:
            say = lambda line: self._say(f"data:   {line}")  # noqa: E731
            copy = self._resources.enter_context(local_copy(runs[0].table, scratch, say))
            for run in runs:
                run.table = copy
        return passes.pays

    def _finish(self, store: Store) -> None:
        """Write the result once the store has all records."""
        store.tracker.flush()
        self._files.write_result(*store.recorder.state())


class TaskDisplay(Display):
    """Prints to the worker's log, and writes the task's status for the driver."""

    def __init__(self, console: Console, files: TaskFiles) -> None:
        super().__init__(console)
        self._status = StatusReporter(files)

    def training(
        self, epoch: int, epochs: int, rows: int, total: int, ended: int, runs: int, best: str = "", note: str = ""
    ) -> None:
        """Print a scan's progress, and write it for the driver."""
        super().training(epoch, epochs, rows, total, ended, runs, best, note)
        (rate,) = self._rates("training", rows)
        self._status.report(epoch=epoch, epochs=epochs, rows=rows, total=total, rate=rate, ended=ended, best=best)
