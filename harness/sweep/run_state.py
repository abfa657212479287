"""What a store already has of the runs that are asked for: finished, under way elsewhere, or left behind."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import Run as Record

from harness.config import LogModel
from harness.sweep.plan import Run

HOST = socket.gethostname()


@dataclass(frozen=True)
class Known:
    """What became of a run so far.

    Attributes:
        state: `new`, `finished`, `diverged`, `failed`, `interrupted` or `running` (in another process).
        record: What the store has of it; None if it is new.
    """

    state: str
    record: Record | None = None

    @property
    def is_settled(self) -> bool:
        """Whether there is a result, so that it need not be trained again."""
        return self.state in ("finished", "diverged")

    @property
    def reusable(self) -> str:
        """The id of a run that was started and has recorded nothing yet: it can still become this one."""
        if self.record is None or self.state != "interrupted" or self.record.data.metrics:
            return ""
        return self.record.info.run_id


def claim_of(signature: str, experiment_id: str) -> str:
    """Return the name by which processes claim a run of an experiment."""
    return f"{experiment_id}/{signature}"


def sort_out(
    runs: Sequence[Run], records: Mapping[str, Sequence[Record]], claimed: set[str], experiment_id: str
) -> dict[Run, Known]:
    """Say what is known of each of `runs`.

    Args:
        runs: Those asked for.
        records: What the store has, by signature, the newest first.
        claimed: What other processes of this machine train.
        experiment_id: The experiment's.
    """
    found = {}
    for run in runs:
        mine = records.get(run.signature, ())
        if claim_of(run.signature, experiment_id) in claimed:
            found[run] = Known("running", mine[0] if mine else None)
            continue
        states = [(state_of(record), record) for record in mine]
        settled = [(state, record) for state, record in states if state == "diverged" or _is_whole(run, state, record)]
        # What runs on another machine runs its own course, and what is to be had of a finished run may be missing.
        here = [pair for pair in states if pair[0] in ("failed", "interrupted")]
        found[run] = Known(*(settled or here or [("new", None)])[0])
    return found


def state_of(record: Record) -> str:
    """Return the state of a record whose run no process of this machine has claimed."""
    tags, status = record.data.tags, record.info.status
    if status == "FINISHED":
        return "finished"
    if status == "FAILED":
        return "diverged" if "diverged_at" in tags else "failed"
    return "running" if status == "RUNNING" and tags.get("host") != HOST else "interrupted"


def is_abandoned(record: Record, claimed: set[str]) -> bool:
    """Whether a run or a summary run that has not ended is one whose process on this machine is gone."""
    tags, info = record.data.tags, record.info
    claims = {claim_of(tags.get("signature", ""), info.experiment_id), claim_of(info.run_id, info.experiment_id)}
    return info.status == "RUNNING" and tags.get("host") == HOST and not claims & claimed


def _is_whole(run: Run, state: str, record: Record) -> bool:
    """Whether a run has finished and its model was kept, if it is to be."""
    models = record.outputs.model_outputs if record.outputs else []
    return state == "finished" and (run.config.tracking.log_model is not LogModel.all or bool(models))
