"""Trains scans one after another, records their events, shows progress and writes checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.formatting import count
from harness.runtime.signals import defer_signals
from harness.sweep.checkpoint import Checkpoint, Saved
from harness.sweep.checkpoint_facts import Facts
from harness.sweep.display import Display
from harness.sweep.executor import Executor, Task
from harness.sweep.plan import Run, arrange
from harness.sweep.recorder import Recorder
from harness.sweep.run_fields import tile_tag
from harness.sweep.search.bracket import RunBracket, with_bracket
from harness.tracking.records import Record
from harness.tracking.tracker import Tracker
from harness.training.cohort import Cohort
from harness.training.events import Diverged, EpochEnd, Failed, Measured, OutOfMemory, Progress, Stopped
from harness.training.saved_state import arrays_under

Happening = EpochEnd | Measured | Stopped | Diverged | Failed | OutOfMemory
"""An event that is recorded."""


class PreparedScan(NamedTuple):
    """The runs of a scan, by lane, and the task that trains them."""

    lanes: list[list[Run]]
    task: Task


def prepare_scans(runs: Sequence[Run], executor: Executor, bracket: RunBracket | None = None) -> list[PreparedScan]:
    """Check and build the scans of `runs` (see `with_bracket`); raises `ConfigError` if one cannot be trained."""
    groups = with_bracket(arrange(runs), bracket)
    scans = [PreparedScan(group.lanes, executor.prepare(group.plan)) for group in groups]
    for scan in scans:
        _tell_runs(scan)
    return scans


def _tell_runs(scan: PreparedScan) -> None:
    """Store in each run how it is trained."""
    scan_bytes, device_bytes = scan.task.bytes, scan.task.device_bytes
    for cohort in scan.task.cohorts:
        for run in (run for lane in cohort.lanes for run in scan.lanes[lane]):
            run.cohort, run.scan_bytes, run.device_bytes = cohort, scan_bytes, device_bytes


def describe_measured(cohorts: Sequence[Cohort]) -> str:
    """Return a sentence about the tiles that `harness tune` has chosen; empty if there are none."""
    lengths = sorted({(cohort.tile, cohort.options.default) for cohort in cohorts if cohort.is_measured})
    changes = ", ".join(f"{count(tile, 'lane')} per call instead of {default}" for tile, default in lengths)
    return f"{changes}, as measured by `harness tune`" if changes else ""


@dataclass(frozen=True)
class ScanLoop:
    """The scans of some runs, and the recorder of their events."""

    runs: Sequence[Run]
    scans: Sequence[PreparedScan]
    recorder: Recorder
    tracker: Tracker
    checkpoint: Checkpoint
    display: Display
    rungs: Sequence[int] = ()  # Epochs at which a search compares the runs.

    def restore(self, saved: Saved) -> int:
        """Restore the scan that was running, and return its number.

        Raises:
            ValueError: The checkpoint is for different scans.
            KeyError: Something is missing from the checkpoint.
        """
        number = saved.facts["scan"]
        if number > len(self.scans):
            raise ValueError(f"there is no scan {number}")
        if number < len(self.scans):
            self.scans[number].task.restore(arrays_under("scan/", saved.arrays))
            _tell_runs(self.scans[number])  # Its tiles are now those of the checkpoint.
        return number

    def run(self, first: int = 0) -> None:
        """Run the scans, starting with number `first`."""
        with defer_signals() as stop:  # A run that has been started, but is not known here, would be left running.
            self.recorder.start(self.runs)
        if stop:
            stop.exit()
        with self.tracker.buffer.hold():
            for number, scan in enumerate(self.scans[first:], first):
                self._leave(scan)
                self._save(number)
                self._train(number, scan)
                self.recorder.scanned(scan.task.clocks)
            self._save(len(self.scans))
        if self.runs[0].config.runtime.time_alone:
            for scan in self.scans:  # Includes scans that an earlier process trained, but may not have timed.
                self._time_alone(scan)
        self.display.clear()

    def _leave(self, scan: PreparedScan) -> None:
        """End the lanes whose runs have all ended elsewhere; while a search compares lanes, it needs all of them."""
        if not self.rungs or all(run.status for run in self.runs):
            scan.task.leave([lane for lane, runs in enumerate(scan.lanes) if all(run.status for run in runs)])

    def _train(self, number: int, scan: PreparedScan) -> None:
        if scan.task.reduction:
            self.display.say(f"memory: {scan.task.reduction}")
        if measured := describe_measured(scan.task.cohorts):
            self.display.say(f"tiles:  {measured}")
        self._show(scan.task, rows=0, epoch=0)
        with defer_signals() as stop, contextlib.closing(scan.task.run()) as events:
            for event in events:
                if isinstance(event, Progress):
                    self._show(scan.task, event.rows, event.epoch)
                    if stop or self.checkpoint.due:
                        self._save(number)
                    if stop:
                        stop.exit()
                else:
                    self._record(scan, event)
            if stop:
                stop.exit()
        self.display.clear()

    def _time_alone(self, scan: PreparedScan) -> None:
        """Time single updates of the runs that shared a scan, since these runs were not timed separately."""
        lanes = [index for index, runs in enumerate(scan.lanes) if any(map(self.recorder.lacks_time_alone, runs))]
        if len(scan.lanes) == 1 or not lanes:
            return
        self.display.timing()
        for lane, seconds in scan.task.time_alone(lanes).items():
            self.recorder.timed_alone(scan.lanes[lane], seconds)

    def _record(self, scan: PreparedScan, event: Happening) -> None:
        if isinstance(event, OutOfMemory):
            self._note_tiles(scan, event)
            return
        lane = scan.lanes[event.lane]
        match event:
            case EpochEnd():
                self.recorder.epoch(lane, event)
            case Measured():
                self.recorder.measured(lane, event)
            case Stopped():
                self.recorder.stopped(lane, event, scan.task.clocks.train, shared_by=len(scan.lanes))
            case Diverged():
                self.recorder.diverged(lane, event)
            case Failed():
                self.recorder.failed(lane, event)

    def _note_tiles(self, scan: PreparedScan, event: OutOfMemory) -> None:
        """Report what was changed for lack of memory, and record the tiles of the runs whose rounding this affects."""
        self.display.say(f"memory: {event.sentence}")
        _tell_runs(scan)
        for run in (run for lane in event.lanes for run in scan.lanes[lane] if not run.status):
            self.tracker.tag(run.run_id, tile_tag(run))

    def _show(self, task: Task, rows: int, epoch: int) -> None:
        ended = sum(bool(run.status) for run in self.runs)
        best, note = self.recorder.best_so_far(), self._standing(epoch) if self.rungs else ""
        self.display.training(epoch, task.epochs, rows, task.rows * task.epochs, ended, len(self.runs), best, note)

    def _standing(self, epoch: int) -> str:
        """Return the progress of a search: the next rung, and the number of trials left."""
        rung = sum(end < epoch for end in self.rungs) + 1
        left = sum(not run.status for run in self.runs)
        return f"rung {rung}/{len(self.rungs) + 1}, {count(left, 'trial')} left"

    def _save(self, number: int) -> None:
        """Write a checkpoint, then release the records made since the previous one; raises `LeaseLost`."""
        records = self.tracker.buffer.held
        self.checkpoint.save(self._state(number, records), self.tracker.check_lease)
        self.tracker.buffer.release(records)

    def _state(self, number: int, records: list[Record]) -> Saved:
        """Return the content of a checkpoint, including `records` in case this process dies before it releases them."""
        facts, weights = self.recorder.state()
        state = self.scans[number].task.state() if number < len(self.scans) else {}
        arrays = {f"scan/{name}": values for name, values in state.items()}
        arrays |= {f"kept/{name}": values for name, values in weights.items()}
        saved: Facts = {
            "runs": [run.signature for run in self.runs],
            "scan": number,
            "records": records,
            "points": self.tracker.points.counts(run.run_id for run in self.runs if not run.status),
            "recorder": facts,
        }  # type: ignore[typeddict-item]
        return Saved(saved, arrays)
