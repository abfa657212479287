"""Decides which runs to train, resume, take from the store, or leave to other processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf
from filelock import Timeout

from harness.formatting import count
from harness.runtime.secrets import masked
from harness.sweep.checkpoint import FOLDER, Checkpoint, Saved
from harness.sweep.display import Display
from harness.sweep.executor import Executor
from harness.sweep.identity import hash_json
from harness.sweep.plan import Run
from harness.sweep.recorder import Recorder
from harness.sweep.run_locks import RunLocks
from harness.sweep.run_state import claim_of, find_states
from harness.sweep.scan_loop import PreparedScan, ScanLoop, arrays_under, prepare_scans
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker

CHECKPOINT_FORMAT = 3  # Checkpoints of other versions are ignored.
POLL_SECONDS = 1.0  # Between checks on runs that other processes train.


@dataclass(frozen=True)
class Store:
    """An open tracking store, and the claims on its runs."""

    recorder: Recorder
    tracker: Tracker
    reader: RunReader
    locks: RunLocks


def checkpoint_folder(
    runs: Sequence[Run], device: str, experiment_id: str, uri: str, tags: Mapping[str, str] | None = None
) -> Path:
    """Return the checkpoint folder of these runs, named by a hash of all that their results and records depend on."""
    runtime = runs[0].config.runtime
    versions = [CHECKPOINT_FORMAT, tf.__version__, keras.__version__]
    names = ("lane_tile", "gram", "threads", "deterministic", "rerun")
    settings = [device, *(getattr(runtime, name) for name in names), tags or {}]
    identity = hash_json([versions, settings, experiment_id, masked(uri), sorted(run.signature for run in runs)])
    return Path(runtime.cache).absolute() / FOLDER / identity


class Batch:
    """Distinct runs that were requested together, and their checkpoint."""

    def __init__(
        self, runs: Sequence[Run], scans: Sequence[PreparedScan], executor: Executor, store: Store, command: str
    ) -> None:
        """Take runs and their `scans`; `executor` prepares new ones if only some of the runs are to be trained."""
        self._runs, self._scans, self._executor, self._store = list(runs), scans, executor, store
        self._checkpoint: Checkpoint | None = None
        self._may_resume = True
        tracker = store.tracker
        self._folder = checkpoint_folder(runs, executor.device, tracker.experiment_id, tracker.uri, store.recorder.tags)
        self._about = {
            "command": masked(command),
            "experiment": runs[0].config.tracking.experiment or "",
            "table": runs[0].table.folder.name,
        }

    def run(self, display: Display) -> None:
        """Return once every run has ended, whether trained here or elsewhere or taken from the store."""
        by_claim = {self._claim(run): run for run in self._runs}
        locks, is_waiting = self._store.locks, False
        while pending := {claim: run for claim, run in by_claim.items() if not run.status}:
            mine = sorted(locks.take(pending) if self._hold_checkpoint() else [], key=list(by_claim).index)
            if mine and self._proceed([pending[claim] for claim in mine], display):
                continue
            self._store.tracker.flush()
            locks.drop()
            if not is_waiting:
                display.say(f"waiting: another process is training {len(pending)} of these runs")
                is_waiting = True
            time.sleep(POLL_SECONDS)

    def discard_checkpoint(self) -> None:
        """Delete the checkpoint after everything is recorded."""
        if self._checkpoint:
            self._checkpoint.discard()

    def close(self) -> None:
        """Leave the checkpoint to other processes."""
        if self._checkpoint:
            self._checkpoint.close()

    def _claim(self, run: Run) -> str:
        return claim_of(run.signature, self._store.tracker.experiment_id)

    def _hold_checkpoint(self) -> bool:
        """Lock the checkpoint if it is free; return True if this process holds it."""
        if self._checkpoint is None:
            with contextlib.suppress(Timeout):
                self._checkpoint = Checkpoint(self._folder, self._about)
        return self._checkpoint is not None

    def _proceed(self, mine: Sequence[Run], display: Display) -> bool:
        """Resume from the checkpoint or train `mine`; return False if other processes are training its runs."""
        assert self._checkpoint
        saved = self._checkpoint.load() if self._may_resume else None
        self._store.tracker.deliver_leftovers()
        by_signature = {run.signature: run for run in self._runs}
        todo = [by_signature[signature] for signature in saved.facts["runs"]] if saved else []
        if saved:
            states = saved.facts["recorder"]["runs"]
            if not {run for run in todo if not states[run.signature]["status"]} <= set(mine):
                return False
        self._may_resume = False
        if not (saved and self._resume(todo, saved, display)):
            self._train(mine, display)
        return True

    def _resume(self, runs: list[Run], saved: Saved, display: Display) -> bool:
        """Continue from a checkpoint; return False if it cannot be used."""
        loop = self._loop(runs, display)
        try:
            self._check_records(runs, saved.facts["recorder"]["runs"])
            number = loop.restore(saved)
        except (KeyError, ValueError) as error:
            display.say(f"resume: the checkpoint in {self._folder} cannot be used ({error}); starting over")
            self._scans = ()  # Scans may be only partly restored.
            return False
        self._store.recorder.restore(self._runs, saved.facts["recorder"], arrays_under("kept/", saved.arrays))
        self._store.tracker.buffer.release(saved.facts["records"])
        self._reuse_results([run for run in runs if not run.status])
        ended = sum(bool(run.status) for run in runs)
        display.say(f"resume: continuing from the checkpoint, {ended} of {count(len(runs), 'run')} already ended")
        loop.run(number)
        return True

    def _train(self, runs: Sequence[Run], display: Display) -> None:
        """Train the runs that have no result in the store."""
        todo = self._reuse_results(runs)
        if finished := len(runs) - len(todo):
            are, them = ("is", "it") if finished == 1 else ("are", "them")
            some = f"{finished} of {count(len(runs), 'run')} {are} already finished"
            display.say(f"{some}; skipping {them} (runtime.rerun=true to retrain)")
        if todo:
            self._loop(todo, display).run()

    def _reuse_results(self, runs: Sequence[Run]) -> list[Run]:
        """Take results from the store, and return the runs that have none."""
        tracker, claimed = self._store.tracker, self._store.locks.others()
        if not runs or runs[0].config.runtime.rerun:
            return list(runs)
        records = self._store.reader.of_signatures(tracker.experiment_id, [run.signature for run in runs])
        states = find_states(runs, records, claimed, tracker.experiment_id)
        known = {run: state.record for run, state in states.items() if state.has_result and state.record}
        self._store.recorder.reuse(known)
        for run, state in states.items():
            if not (run.status or run.run_id):
                run.run_id = state.reusable_id
        self._store.locks.drop(self._claim(run) for run in runs if run.status)
        return [run for run in runs if not run.status]

    def _loop(self, runs: list[Run], display: Display) -> ScanLoop:
        assert self._checkpoint
        scans = self._scans if self._scans and runs == self._runs else prepare_scans(runs, self._executor)
        return ScanLoop(runs, scans, self._store.recorder, self._store.tracker, self._checkpoint, display)

    def _check_records(self, runs: Sequence[Run], states: Mapping[str, Mapping[str, str]]) -> None:
        """Raise `ValueError` unless the store still has the runs that a checkpoint continues."""
        wanted = {run.signature: states[run.signature]["run_id"] for run in runs if not states[run.signature]["status"]}
        found = self._store.reader.of_signatures(self._store.tracker.experiment_id, list(wanted))
        ids = {record.info.run_id for records in found.values() for record in records}
        if lost := len(set(wanted.values()) - ids):
            raise ValueError(f"{count(lost, 'run')} no longer in the store")
