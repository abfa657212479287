"""Decides which runs to train, resume, take from the store, or leave to other processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import Timeout

from harness.data.tables.pages import DamagedTable
from harness.formatting import count
from harness.runtime.secrets import masked
from harness.sweep.checkpoint import FOLDER, FORMAT, Checkpoint
from harness.sweep.claims import claim_of, is_abandoned
from harness.sweep.display import Display
from harness.sweep.executor import Executor
from harness.sweep.identity import hash_json, rounding
from harness.sweep.plan import Run, rebuild_table
from harness.sweep.resume import Store, UnusableCheckpoint, continue_recording, restore, runs_to_train
from harness.sweep.run_state import WITHOUT_MODEL, find_states
from harness.sweep.scan_loop import PreparedScan, ScanLoop, prepare_scans
from harness.sweep.search.bracket import RunBracket
from harness.sweep.search.rung_values import rung_values

POLL_SECONDS = 1.0  # Time between checks on runs that other processes train.


def checkpoint_folder(
    runs: Sequence[Run], device: str, experiment_id: str, store: str, tags: Mapping[str, str] | None = None
) -> Path:
    """Return the checkpoint folder of these runs, named after a hash of what affects their results and records."""
    runtime = runs[0].config.runtime
    settings = [FORMAT, rounding(runtime, device), runtime.rerun, tags or {}, *filter(None, [runs[0].search])]
    identity = hash_json([settings, experiment_id, store, sorted(run.signature for run in runs)])
    return Path(runtime.cache).absolute() / FOLDER / identity


class Batch:
    """Distinct runs that were requested together, and their checkpoint."""

    def __init__(
        self,
        runs: Sequence[Run],
        scans: Sequence[PreparedScan],
        executor: Executor,
        store: Store,
        command: str,
        bracket: RunBracket | None = None,
    ) -> None:
        """Store runs and their `scans`; `executor` prepares new scans if only some of the runs need training.

        Runs in a `bracket` are either all trained together or not at all, since they are compared with each other.
        """
        self._bracket = bracket
        self._runs, self._scans, self._executor, self._store = list(runs), scans, executor, store
        self._checkpoint: Checkpoint | None = None
        self._may_resume = True
        self._remade: set[Path] = set()
        self._rounding = rounding(runs[0].config.runtime, executor.description)
        store.recorder.plan(self._runs)
        tracker = store.tracker
        self._folder = checkpoint_folder(
            runs, executor.device, tracker.experiment_id, tracker.store, store.recorder.tags
        )
        self._about = {
            "command": masked(command),
            "experiment": runs[0].config.tracking.experiment or "",
            "table": runs[0].table.folder.name,
        }

    def run(self, display: Display) -> None:
        """Return once every run has ended, whether it was trained here, trained elsewhere or taken from the store."""
        by_claim = {self._claim(run): run for run in self._runs}
        locks, is_waiting = self._store.locks, False
        while pending := {claim: run for claim, run in by_claim.items() if not run.status}:
            taken = locks.take(pending) if self._hold_checkpoint() else set()
            mine = [run for claim, run in pending.items() if claim in taken]
            if self._bracket and len(mine) < len(pending):
                mine = []
            try:
                if mine and self._proceed(mine, display):
                    continue
            except DamagedTable as error:
                self._remake_table(error, display)
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
        """Resume from the checkpoint or train `mine`; return False if other processes train the checkpoint's runs."""
        assert self._checkpoint
        self._store.tracker.deliver_leftovers()
        said: set[str] = set()
        while self._may_resume and (saved := self._checkpoint.load(display.say)):
            try:
                todo = runs_to_train(saved.facts, self._runs)
                # Also runs that have ended: if another process retrains one, its record contradicts the checkpoint.
                if not {run for run in todo if not run.status} <= {*mine}:
                    return False
                loop = self._loop(todo, display)
                number = restore(saved, loop, self._runs, self._store)
            except UnusableCheckpoint as error:
                self._checkpoint.reject()
                self._scans = ()  # Scans may be only partially restored.
                if str(error) not in said:
                    said.add(str(error))
                    display.say(f"resume: the checkpoint in {self._folder} cannot be used ({error})")
                continue
            self._may_resume = False
            left = [run for run in todo if not run.status]
            before = f"{len(todo) - len(left)} of {count(len(todo), 'run')} had ended"
            # A process records the end of a run only after saving it, so others ended these runs if nothing is lost.
            lacking = self._reuse_results(left, display, may_be_own=self._checkpoint.lacks_newest)
            since = f", and another process has finished {len(left) - len(lacking)} since"
            display.say(f"resume: continuing from the checkpoint; {before}{since if len(lacking) < len(left) else ''}")
            loop.run(number)
            return True
        if self._may_resume and self._checkpoint.was_rejected:
            display.say("resume: starting over")
        self._may_resume = False
        self._train(mine, display)
        return True

    def _remake_table(self, error: DamagedTable, display: Display) -> None:
        """Rebuild a damaged table and return to the last checkpoint.

        Raises:
            DamagedTable: The table does not belong to this batch, or is damaged again.
            ConfigError: The source cannot be read, or has changed.
        """
        assert self._checkpoint
        display.clear()
        rebuild_table(error, self._runs, self._remade, display.reading, lambda line: display.say(f"data:   {line}"))
        display.clear()
        saved = self._checkpoint.load(display.say)
        states = saved.facts["recorder"]["runs"] if saved else {}
        for run in self._runs:
            run.status = states[run.signature]["status"] if run.signature in states else ""
        self._scans, self._may_resume = (), True

    def _train(self, runs: Sequence[Run], display: Display) -> None:
        """Train the runs without a result in the store."""
        todo = self._reuse_results(runs, display)
        self._say_reused(len(runs) - len(todo), len(runs), display)
        if todo:
            loop = self._loop(todo, display)  # It knows the tiles, which may depend on the remaining runs.
            continue_recording(todo, self._store)
            loop.run()

    def _say_reused(self, finished: int, runs: int, display: Display) -> None:
        if finished:
            are, them = ("is", "it") if finished == 1 else ("are", "them")
            some = f"{finished} of {count(runs, 'run')} {are} already finished"
            display.say(f"{some}; skipping {them} (runtime.rerun=true to retrain)")

    def _reuse_results(self, runs: Sequence[Run], display: Display, *, may_be_own: bool = True) -> list[Run]:
        """Take results from the store, and return the runs that have none.

        If a run's id is known here, its result `may_be_own`: this process may have trained the run after the checkpoint
        that it has returned to. Then the run is trained to the end again, since its weights and test metrics exist
        nowhere else.
        """
        tracker, locks = self._store.tracker, self._store.locks
        claimed = locks.others()
        if not runs or runs[0].config.runtime.rerun:
            return list(runs)
        records = self._store.reader.of_signatures(tracker.experiment_id, [run.signature for run in runs])
        states = find_states(runs, records, claimed, locks.knows, tracker.experiment_id)
        known = {
            run: state.record
            for run, state in states.items()
            if state.has_result and state.record and not (may_be_own and state.record.info.run_id == run.run_id)
        }
        self._store.recorder.reuse(known)
        if lacking := sum(state.name == WITHOUT_MODEL for state in states.values()):
            because = "its model was" if lacking == 1 else "their models were"
            display.say(f"retraining {count(lacking, 'finished run')}, because {because} not logged")
        for run, state in states.items():
            if not (run.status or run.run_id) and state.record:
                run.run_id = state.reusable_id(self._rounding)
            if state.record and run.run_id != state.record.info.run_id and is_abandoned(state.record, claimed, locks):
                tracker.end_run(state.record.info.run_id, "KILLED")
        self._store.locks.drop(self._claim(run) for run in runs if run.status)
        return [run for run in runs if not run.status]

    def _loop(self, runs: list[Run], display: Display) -> ScanLoop:
        assert self._checkpoint
        rungs = self._bracket.rungs if self._bracket else ()
        scans = self._scans if self._scans and runs == self._runs else self._prepare(runs)
        return ScanLoop(runs, scans, self._store.recorder, self._store.tracker, self._checkpoint, display, rungs)

    def _prepare(self, runs: list[Run]) -> Sequence[PreparedScan]:
        if not self._bracket:
            return prepare_scans(runs, self._executor)
        tracker, locks = self._store.tracker, self._store.locks
        others = [run for run in self._bracket.runs if run not in runs]
        records = self._store.reader.of_signatures(tracker.experiment_id, [run.signature for run in others])
        states = find_states(others, records, set(), locks.knows, tracker.experiment_id)
        ended = {run: state.record for run, state in states.items() if state.has_result and state.record}
        known = rung_values(ended, self._bracket.rungs, self._store.reader)
        return prepare_scans(runs, self._executor, replace(self._bracket, known=known))
