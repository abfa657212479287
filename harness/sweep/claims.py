"""The names of claims on runs, and the runs that were claimed by processes that have since died."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from mlflow.entities import Run as Record

from harness.config import TrackingConfig
from harness.errors import ConfigError
from harness.sweep.leases import Leases
from harness.sweep.run_locks import RunLocks, claims_folder, locks_of
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker
from harness.tracking.uri import sqlite_path


def claim_of(signature: str, experiment_id: str) -> str:
    """Return the name under which processes claim a run of an experiment."""
    return f"{experiment_id}/{signature}"


def claims_of(tracker: Tracker, reader: RunReader, config: TrackingConfig, *, is_worker: bool) -> RunLocks:
    """Return this process's claims on runs of the tracker's experiment; the tracker then writes only while they hold.

    On a server, other machines respect them too. A worker has no claims of its own there, since its driver has claimed
    its runs.

    Raises:
        ConfigError: The folder of the claims cannot be written to.
    """
    if is_worker or sqlite_path(reader.uri):
        return locks_of(reader.uri, reader.client)
    folder = claims_folder(reader.uri, reader.client)
    leases = Leases(folder, reader.client, tracker.experiment_id, config, tracker.say)
    tracker.require(leases.session)
    return leases


def is_abandoned(record: Record, claimed: set[str], locks: RunLocks) -> bool:
    """Return True if a run or summary run is marked as running, but its process is known to be gone.

    Nothing is known about runs that were claimed elsewhere.
    """
    info = record.info
    signature = record.data.tags.get("signature", "")
    claims = {claim_of(signature, info.experiment_id), claim_of(info.run_id, info.experiment_id)}
    return info.status == "RUNNING" and locks.knows(record) and not claims & claimed


def abandoned_runs(reader: RunReader, records: Sequence[Record]) -> set[str]:
    """Return the ids of runs that are marked as running although no process is training them."""
    if all(record.info.status != "RUNNING" for record in records):
        return set()
    # If claims cannot be kept here, for example because the store is read-only, nothing is known.
    with contextlib.suppress(ConfigError), locks_of(reader.uri, reader.client) as locks:
        claimed = locks.others()
        return {record.info.run_id for record in records if is_abandoned(record, claimed, locks)}
    return set()


def end_abandoned(tracker: Tracker, reader: RunReader, locks: RunLocks) -> None:
    """End the runs of the tracker's experiment that are marked as running, but whose processes are gone."""
    claimed = locks.others()
    running = reader.running(tracker.experiment_id)
    if running:
        claimed |= locks.others()
    for record in running:
        if is_abandoned(record, claimed, locks):
            tracker.end_run(record.info.run_id, "KILLED")
    tracker.flush()
