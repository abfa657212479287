"""The names of claims on runs, and the runs that were claimed by processes that have since died."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from mlflow.entities import Run as Record

from harness.errors import ConfigError
from harness.sweep.run_locks import locks_of
from harness.tracking.reader import RunReader

HOST = socket.gethostname()


def claim_of(signature: str, experiment_id: str) -> str:
    """Return the name under which processes claim a run of an experiment."""
    return f"{experiment_id}/{signature}"


def owner(place: str) -> dict[str, str]:
    """Return the tags of a run trained by a process on this machine; `place` is where the process keeps its claims."""
    return {"host": HOST, "claims": place}


def is_owned(record: Record, place: str) -> bool:
    """Return True if a run was claimed in `place` by a process on this machine."""
    return owner(place).items() <= record.data.tags.items()


def is_abandoned(record: Record, claimed: set[str], place: str) -> bool:
    """Return True if a run or summary run that was claimed in `place` is marked as running but no longer claimed.

    Nothing is known about runs that were claimed elsewhere.
    """
    info = record.info
    signature = record.data.tags.get("signature", "")
    claims = {claim_of(signature, info.experiment_id), claim_of(info.run_id, info.experiment_id)}
    return info.status == "RUNNING" and is_owned(record, place) and not claims & claimed


def abandoned_runs(reader: RunReader, records: Sequence[Record]) -> set[str]:
    """Return the ids of runs that are marked as running although no process is training them."""
    if all(record.info.status != "RUNNING" for record in records):
        return set()
    # If claims cannot be kept here, for example because the store is read-only, nothing is known.
    with contextlib.suppress(ConfigError), locks_of(reader.uri, reader.client) as locks:
        claimed = locks.others()
        return {record.info.run_id for record in records if is_abandoned(record, claimed, locks.place)}
    return set()
