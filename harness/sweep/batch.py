"""Runs asked for together: which to train and from where on, which to wait for, which to take from the records."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from mlflow.entities import Run as Record

from harness.runtime.secrets import masked
from harness.runtime.signals import deferred
from harness.sweep.checkpoint import FOLDER, Checkpoint, Saved
from harness.sweep.display import Display
from harness.sweep.identity import hashed
from harness.sweep.plan import Group, Run, arrange
from harness.sweep.recorder import Recorder
from harness.sweep.run_locks import RunLocks
from harness.sweep.run_state import claim_of, sort_out
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker
from harness.training.events import Diverged, EpochEnd, Failed, Progress, Stopped

FORMAT = 2
"""Of checkpoints; another one is not gone on from."""

POLL = 1.0
"""Seconds between looks at what other processes train."""


@dataclass(frozen=True)
class Place:
    """Where the records of a batch go, and who else writes there."""

    recorder: Recorder
    tracker: Tracker
    records: RunReader
    claims: RunLocks


def checkpoint_folder(
    runs: Sequence[Run], device: str, experiment_id: str, uri: str, tags: Mapping[str, str] | None = None
) -> Path:
    """Return where the checkpoint of these runs is: another one if anything differs that could show in a number."""
    runtime = runs[0].config.runtime
    versions = [FORMAT, tf.__version__, keras.__version__]
    settings = [
        device,
        runtime.lane_tile,
        runtime.gram,
        runtime.threads,
        runtime.deterministic,
        runtime.rerun,
        tags or {},
    ]
    identity = hashed([versions, settings, experiment_id, masked(uri), sorted(run.signature for run in runs)])
    return Path(runtime.cache).absolute() / FOLDER / identity


class Batch:
    """Distinct runs with one device, and the checkpoint that they are gone on with from."""

    def __init__(self, runs: Sequence[Run], groups: Sequence[Group], device: str, place: Place, command: str) -> None:
        """Do nothing yet.

        Args:
            runs: To be trained, unless they have been.
            groups: All of them, arranged.
            device: TensorFlow's name.
            place: Of their records.
            command: What repeats them.
        """
        self._runs, self._groups, self._device, self._place = list(runs), groups, device, place
        self._checkpoint: Checkpoint | None = None
        self._is_first_turn = True
        config = runs[0].config
        self._folder = checkpoint_folder(
            runs, device, place.tracker.experiment_id, place.tracker.uri, place.recorder.tags
        )
        self._about = {
            "command": command,
            "experiment": config.tracking.experiment or "",
            "table": runs[0].table.folder.name,
        }

    def run(self, display: Display) -> None:
        """Bring all runs to their ends: each is trained here, or by another process while this one waits, or known."""
        named = {claim_of(run.signature, self._place.tracker.experiment_id): run for run in self._runs}
        claims, said = self._place.claims, False
        while pending := {name: run for name, run in named.items() if not run.status}:
            mine = sorted(claims.take(pending) if self._open() else [], key=list(named).index)
            if mine and self._turn([pending[name] for name in mine], display):
                continue
            # Only what is on record can be known to others.
            self._place.tracker.flush()
            claims.drop()
            if not said:
                display.say(f"waiting: another process trains {len(pending)} of these runs")
                said = True
            time.sleep(POLL)

    def forget(self) -> None:
        """Remove the checkpoint: all is on record."""
        if self._checkpoint:
            self._checkpoint.discard()

    def close(self) -> None:
        """Let others go on from the checkpoint."""
        if self._checkpoint:
            self._checkpoint.close()

    def _open(self) -> bool:
        """Have the checkpoint, unless another process has it."""
        if self._checkpoint is None:
            with contextlib.suppress(BlockingIOError):
                self._checkpoint = Checkpoint(self._folder, self._about)
        return self._checkpoint is not None

    def _turn(self, mine: Sequence[Run], display: Display) -> bool:
        """Go on from the checkpoint, or bring `mine` to their ends; return False if others have to come first."""
        saved = self._checkpoint.load() if self._checkpoint and self._is_first_turn else None
        self._place.tracker.settle()
        by_signature = {run.signature: run for run in self._runs}
        todo = [by_signature[signature] for signature in saved.facts["runs"]] if saved else []
        if saved:
            states = saved.facts["recorder"]["runs"]
            if not {run for run in todo if not states[run.signature]["status"]} <= set(mine):
                return False
        self._is_first_turn = False
        if not (saved and self._go_on(todo, saved, display)):
            self._begin(mine, display)
        return True

    def _go_on(self, runs: list[Run], saved: Saved, display: Display) -> bool:
        """Train what a checkpoint holds from there on; return False if that cannot be."""
        groups, number = self._arranged(runs), saved.facts["scan"]
        try:
            self._check_records(runs, saved.facts["recorder"]["runs"])
            if number < len(groups):
                groups[number].scan.restore(_part(saved.arrays, "scan/"))
        except (KeyError, ValueError) as error:
            display.say(f"resume: the checkpoint in {self._folder} cannot be used ({error}); training starts anew")
            self._groups = ()  # They may be half restored.
            return False
        self._place.recorder.restore(self._runs, saved.facts["recorder"], _part(saved.arrays, "kept/"))
        self._place.tracker.held.put(saved.facts["records"])
        self._adopt([run for run in runs if not run.status])
        ended = sum(bool(run.status) for run in runs)
        display.say(f"resume: from the checkpoint, {ended} of {len(runs)} runs have ended")
        self._train(runs, groups, number, display)
        return True

    def _begin(self, runs: Sequence[Run], display: Display) -> None:
        """Train those of `runs` that have no result on record."""
        todo = self._adopt(runs)
        if len(todo) < len(runs):
            some = f"{len(runs) - len(todo)} of {len(runs)} runs have"
            display.say(f"known:  {some} a result on record; runtime.rerun=true trains them again")
        if todo:
            self._train(todo, self._arranged(todo), 0, display)

    def _adopt(self, runs: Sequence[Run]) -> list[Run]:
        """Take what has a result from the records, and return the others."""
        tracker, claimed = self._place.tracker, self._place.claims.others()
        if not runs or runs[0].config.runtime.rerun:
            return list(runs)
        records = self._place.records.of_signatures(tracker.experiment_id, [run.signature for run in runs])
        for run, known in sort_out(runs, records, claimed, tracker.experiment_id).items():
            if known.is_settled and known.record:
                self._place.recorder.adopt(run, known.record)
            elif not run.run_id:
                run.run_id = known.reusable
        # They are on record: nobody needs to wait for this process.
        self._place.claims.drop(claim_of(run.signature, tracker.experiment_id) for run in runs if run.status)
        return [run for run in runs if not run.status]

    def _arranged(self, runs: list[Run]) -> Sequence[Group]:
        return self._groups if self._groups and runs == self._runs else arrange(runs, self._device)

    def _train(self, runs: Sequence[Run], groups: Sequence[Group], first: int, display: Display) -> None:
        """Run scans, from the number `first` on."""
        recorder, tracker = self._place.recorder, self._place.tracker
        recorder.start(runs)
        with tracker.held.hold():
            for number, group in enumerate(groups[first:], first):
                self._save(runs, number, group)
                self._scan(runs, number, group, display)
                recorder.scanned([group.scan.clocks])
            self._save(runs, len(groups))

    def _scan(self, runs: Sequence[Run], number: int, group: Group, display: Display) -> None:
        """Run one scan and hand its events on."""
        scan, recorder = group.scan, self._place.recorder

        def show(epoch: int, rows: int) -> None:
            ended = sum(bool(run.status) for run in runs)
            display.training(epoch, scan.epochs, rows, scan.rows * scan.epochs, ended, len(runs))

        show(epoch=0, rows=0)
        with deferred() as stop, contextlib.closing(scan.run()) as events:
            for event in events:
                if isinstance(event, Progress):
                    show(event.epoch, event.rows)
                    if stop or (self._checkpoint and self._checkpoint.due):
                        self._save(runs, number, group)
                    if stop:
                        stop.obey()
                    continue
                lane = group.lanes[event.lane]
                if isinstance(event, EpochEnd):
                    recorder.epoch(lane, event)
                elif isinstance(event, Stopped):
                    recorder.stopped(lane, event, scan.clocks.train, shared_by=len(group.lanes))
                elif isinstance(event, Diverged):
                    recorder.diverged(lane, event)
                elif isinstance(event, Failed):
                    for run in lane:
                        recorder.failed(run, event.reason)
            if stop:
                stop.obey()
        display.clear()

    def _save(self, runs: Sequence[Run], number: int, group: Group | None = None) -> None:
        """Write all that it takes to go on from here, and let go of the records up to here.

        The records are in it too: if this process ends in between, they are made once more, to the letter.
        """
        assert self._checkpoint
        records = self._place.tracker.held.take()
        facts, kept = self._place.recorder.state()
        arrays = {f"scan/{name}": values for name, values in (group.scan.state() if group else {}).items()}
        arrays |= {f"kept/{name}": values for name, values in kept.items()}
        signatures = [run.signature for run in runs]
        self._checkpoint.save(
            Saved({"runs": signatures, "scan": number, "records": records, "recorder": facts}, arrays)
        )
        self._place.tracker.held.put(records)

    def _check_records(self, runs: Sequence[Run], states: Mapping[str, Mapping[str, str]]) -> None:
        """See that the records that are to be gone on with are still there."""
        wanted = {run.signature: states[run.signature]["run_id"] for run in runs if not states[run.signature]["status"]}
        found = self._place.records.of_signatures(self._place.tracker.experiment_id, list(wanted))
        if lost := [name for name, run_id in wanted.items() if run_id not in _ids(found.get(name, ()))]:
            raise ValueError(f"the store has no more of {len(lost)} of its runs")


def _ids(records: Sequence[Record]) -> set[str]:
    return {record.info.run_id for record in records}


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
