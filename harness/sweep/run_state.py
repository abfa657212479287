"""What the store already knows of the runs asked for: finished, running elsewhere, interrupted or nothing."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import Run as Record

from harness.config import LogModel
from harness.sweep.plan import Run

HOST = socket.gethostname()


@dataclass(frozen=True)
class RunState:
    """The state of a run: `new`, `finished`, `diverged`, `failed`, `interrupted`, or `running` in another process."""

    name: str
    record: Record | None = None

    @property
    def has_result(self) -> bool:
        """True if the run need not be trained again."""
        return self.name in ("finished", "diverged")

    @property
    def reusable_id(self) -> str:
        """The id of a run that was started but has no metrics yet, so this run can take it over; else empty."""
        if self.record is None or self.name != "interrupted" or self.record.data.metrics:
            return ""
        return self.record.info.run_id


def claim_of(signature: str, experiment_id: str) -> str:
    """Return the name under which processes claim a run of an experiment."""
    return f"{experiment_id}/{signature}"


def find_states(
    runs: Sequence[Run], records: Mapping[str, Sequence[Record]], claimed: set[str], experiment_id: str
) -> dict[Run, RunState]:
    """Return the state of each run, from the store's records by signature, newest first, and others' claims."""
    return {run: _state(run, records.get(run.signature, ()), claimed, experiment_id) for run in runs}


def _state(run: Run, records: Sequence[Record], claimed: set[str], experiment_id: str) -> RunState:
    if claim_of(run.signature, experiment_id) in claimed:
        return RunState("running", records[0] if records else None)
    states = [RunState(_state_name(record), record) for record in records]
    # Runs on other machines are not waited for, and a finished run may lack the model that is wanted now.
    results = [state for state in states if state.has_result and (state.name == "diverged" or _has_model(run, state))]
    unfinished = [state for state in states if state.name in ("failed", "interrupted")]
    return (results or unfinished or [RunState("new")])[0]


def is_abandoned(record: Record, claimed: set[str]) -> bool:
    """Return True if a run or summary run is marked as running on this machine, but no process claims it."""
    tags, info = record.data.tags, record.info
    claims = {claim_of(tags.get("signature", ""), info.experiment_id), claim_of(info.run_id, info.experiment_id)}
    return info.status == "RUNNING" and tags.get("host") == HOST and not claims & claimed


def _state_name(record: Record) -> str:
    """Return the state of a run that no process of this machine has claimed."""
    tags, status = record.data.tags, record.info.status
    if status == "FINISHED":
        return "finished"
    if status == "FAILED":
        return "diverged" if "diverged_at" in tags else "failed"
    return "running" if status == "RUNNING" and tags.get("host") != HOST else "interrupted"


def _has_model(run: Run, state: RunState) -> bool:
    """Return True if the run's model is logged, or need not be."""
    outputs = state.record.outputs if state.record else None
    return run.config.tracking.log_model is not LogModel.all or bool(outputs and outputs.model_outputs)
