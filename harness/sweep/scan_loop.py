"""Trains scans one after another: records their events, shows progress and writes checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harness.runtime.signals import deferred
from harness.sweep.checkpoint import Checkpoint, Saved
from harness.sweep.display import Display
from harness.sweep.executor import Executor, Task
from harness.sweep.plan import Run, arrange
from harness.sweep.recorder import Recorder
from harness.tracking.tracker import Tracker
from harness.training.events import Diverged, EpochEnd, Event, Failed, Progress, Stopped


class PreparedScan(NamedTuple):
    """Runs by lane, and the task that trains them."""

    lanes: list[list[Run]]
    task: Task


def prepare_scans(runs: Sequence[Run], executor: Executor) -> list[PreparedScan]:
    """Have an executor check and build the scans of `runs`.

    Raises:
        ConfigError: A run cannot be trained as configured; nothing has been trained or recorded then.
    """
    return [PreparedScan(group.lanes, executor.prepare(group.plan)) for group in arrange(runs)]


class ScanLoop:
    """The scans of some runs, and where their events go."""

    def __init__(
        self,
        runs: Sequence[Run],
        scans: Sequence[PreparedScan],
        recorder: Recorder,
        tracker: Tracker,
        checkpoint: Checkpoint,
        display: Display,
    ) -> None:
        self._runs, self._scans, self._display = runs, scans, display
        self._recorder, self._tracker, self._checkpoint = recorder, tracker, checkpoint

    def restore(self, saved: Saved) -> int:
        """Restore the scan that was running, and return its number.

        Raises:
            ValueError: The checkpoint belongs to other scans; so does `KeyError`.
        """
        number = saved.facts["scan"]
        if number < len(self._scans):
            self._scans[number].task.restore(arrays_under("scan/", saved.arrays))
        return number

    def run(self, first: int = 0) -> None:
        """Run the scans from number `first` on."""
        self._recorder.start(self._runs)
        with self._tracker.held.hold():
            for number, scan in enumerate(self._scans[first:], first):
                self._save(number)
                self._train(number, scan)
                self._recorder.scanned(scan.task.clocks)
            self._save(len(self._scans))

    def _train(self, number: int, scan: PreparedScan) -> None:
        self._show(scan.task, rows=0, epoch=0)
        with deferred() as stop, contextlib.closing(scan.task.run()) as events:
            for event in events:
                if isinstance(event, Progress):
                    self._show(scan.task, event.rows, event.epoch)
                    if stop or self._checkpoint.due:
                        self._save(number)
                    if stop:
                        stop.obey()
                else:
                    self._record(scan, event)
            if stop:
                stop.obey()
        self._display.clear()

    def _record(self, scan: PreparedScan, event: Event) -> None:
        match event:
            case EpochEnd():
                self._recorder.epoch(scan.lanes[event.lane], event)
            case Stopped():
                seconds = scan.task.clocks.train
                self._recorder.stopped(scan.lanes[event.lane], event, seconds, shared_by=len(scan.lanes))
            case Diverged():
                self._recorder.diverged(scan.lanes[event.lane], event)
            case Failed():
                self._recorder.failed(scan.lanes[event.lane], event.reason)

    def _show(self, task: Task, rows: int, epoch: int) -> None:
        ended = sum(bool(run.status) for run in self._runs)
        self._display.training(epoch, task.epochs, rows, task.rows * task.epochs, ended, len(self._runs))

    def _save(self, number: int) -> None:
        """Write a checkpoint, then release the records made since the last one.

        The checkpoint contains these records: if this process dies in between, the next one sends them again.
        """
        records = self._tracker.held.take()
        facts, weights = self._recorder.state()
        state = self._scans[number].task.state() if number < len(self._scans) else {}
        arrays = {f"scan/{name}": values for name, values in state.items()}
        arrays |= {f"kept/{name}": values for name, values in weights.items()}
        signatures = [run.signature for run in self._runs]
        self._checkpoint.save(
            Saved({"runs": signatures, "scan": number, "records": records, "recorder": facts}, arrays)
        )
        self._tracker.held.put(records)


def arrays_under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays whose names start with `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
