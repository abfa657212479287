"""Finds out which of the requested runs are already in the store, and how each of them ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import Run as Record

from harness.config import LogModel
from harness.sweep.claims import claim_of
from harness.sweep.identity import ROUNDING
from harness.sweep.plan import Run
from harness.tracking.run_tags import PRUNED, SEARCH

WITHOUT_MODEL = "without a model"


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    One of `new`, `finished`, `diverged`, `failed`, `interrupted`, `pruned`, `running` (in another process), and
    `without a model` (the run is finished, but its model, which is requested now, was not logged).
    """

    name: str
    record: Record | None = None

    @property
    def has_result(self) -> bool:
        """True if the run needs no training. A pruned run is a result only for the search that pruned it."""
        return self.name in ("finished", "diverged", "pruned")

    def reusable_id(self, rounding: str) -> str:
        """Return the id of the run if it was interrupted or has no model, so that it can be retrained.

        Otherwise, return an empty string. If the run has metrics, retraining must give the same ones, and therefore
        needs the same `rounding`; see `harness.sweep.identity`.
        """
        if self.record is None or self.name not in ("interrupted", WITHOUT_MODEL):
            return ""
        tags = self.record.data.tags
        is_alike = tags.get(ROUNDING) == rounding
        return self.record.info.run_id if is_alike or not self.record.data.metrics else ""


def find_states(
    runs: Sequence[Run],
    records: Mapping[str, Sequence[Record]],
    claimed: set[str],
    knows: Callable[[Record], bool],
    experiment_id: str,
) -> dict[Run, RunState]:
    """Return each run's state.

    Args:
        runs: The requested runs.
        records: The store's records by signature, newest first.
        claimed: The claims of other processes.
        knows: Whether the process that trains a run would be seen here if it were alive.
        experiment_id: The experiment of the records.
    """
    return {run: _state(run, records.get(run.signature, ()), claimed, knows, experiment_id) for run in runs}


def _state(
    run: Run,
    records: Sequence[Record],
    claimed: set[str],
    knows: Callable[[Record], bool],
    experiment_id: str,
) -> RunState:
    if claim_of(run.signature, experiment_id) in claimed:
        return RunState("running", records[0] if records else None)
    states = [RunState(_state_name(record, knows), record) for record in records]
    states = [state for state in states if state.name != "pruned" or _is_trial_of(state, run.search)]
    results = [state for state in states if state.has_result and (state.name != "finished" or _has_model(run, state))]
    results += [RunState(WITHOUT_MODEL, state.record) for state in states if state.name == "finished"]
    # Runs of workers, or of older versions, on other machines are not waited for.
    unfinished = [state for state in states if state.name in ("failed", "interrupted")]
    return (results or unfinished or [RunState("new")])[0]


def _state_name(record: Record, knows: Callable[[Record], bool]) -> str:
    """Return the state of a run that no process is known to have claimed."""
    tags, status = record.data.tags, record.info.status
    if status == "FINISHED":
        return "finished"
    if status == "FAILED":
        return "diverged" if "diverged_at" in tags else "failed"
    if PRUNED in tags:
        return "pruned"
    return "running" if status == "RUNNING" and not knows(record) else "interrupted"


def _is_trial_of(state: RunState, search: str) -> bool:
    return bool(search and state.record and state.record.data.tags.get(SEARCH) == search)


def _has_model(run: Run, state: RunState) -> bool:
    """Return True if the run's model is logged or does not need to be."""
    outputs = state.record.outputs if state.record else None
    return run.config.tracking.log_model is not LogModel.all or bool(outputs and outputs.model_outputs)
