"""Removes outdated entries from records that an earlier process could not deliver.

Another process may have trained the same runs since then, and MLflow keeps a separate point for each timestamp. A
process on another machine may even be training them now.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.tracking._compat_history import Point, histories
from harness.tracking.lease_cells import LEASE
from harness.tracking.records import Record
from harness.tracking.run_pages import find_run, runs_by_id
from harness.tracking.store_errors import is_unreachable


class StoredPoints:
    """The steps at which a store had points when first asked, and which runs had finished or were trained elsewhere."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self._client, self._uri = client, uri
        self._steps: dict[tuple[str, str], set[int]] = {}
        self._has_finished: dict[str, bool] = {}
        self._is_elsewhere: dict[str, bool] = {}
        self._is_live: dict[str, bool] = {}  # By session: whether it belongs to a live process on another machine.

    def read(self, records: Iterable[Record]) -> None:
        """Read the metrics to which `records` add points, and the runs that they end, unless they are already known."""
        records = list(records)
        self._find_elsewhere({*map(_run_written, records)} - self._is_elsewhere.keys() - {""})
        records = [record for record in records if not self._is_elsewhere.get(_run_written(record))]
        for run_id in {record["run"] for record in records if _is_unfinished_end(record)} - self._has_finished.keys():
            self._has_finished[run_id] = self._finished(run_id)
        keys_of: dict[str, set[str]] = {}
        for run_id, key in {(record["run"], key) for record in records for key in _keys(record)} - self._steps.keys():
            keys_of.setdefault(run_id, set()).add(key)
        alike: dict[tuple[str, ...], list[str]] = {}  # Runs by the keys to read.
        for run_id, keys in keys_of.items():
            alike.setdefault(tuple(sorted(keys)), []).append(run_id)
        for keys, runs in alike.items():
            found: dict[tuple[str, str], set[int]] = {(run_id, key): set() for run_id in runs for key in keys}
            for run_id, key, step, _ in self._histories(runs, keys):
                found[run_id, key].add(step)
            self._steps |= found

    def without(self, records: Iterable[Record]) -> list[Record]:
        """Return `records` without points that the store had, and without failed ends of finished runs.

        Points and ends of runs that a process on another machine is training are left out too, since it records its
        own.
        """
        records = (each for each in records if not self._is_elsewhere.get(_run_written(each)))
        needed = (each for each in records if not (_is_unfinished_end(each) and self._has_finished[each["run"]]))
        return [self._without(record) for record in needed]

    def _without(self, record: Record) -> Record:
        run_id = record["run"]
        if record["kind"] == "curve":
            stored = self._steps[run_id, record["key"]]
            return {**record, "points": [point for point in record["points"] if point[0] not in stored]}
        if record["kind"] == "metrics":
            new = [key for key in record["values"] if record["step"] not in self._steps[run_id, key]]
            return {**record, "values": {key: record["values"][key] for key in new}}
        return record

    def _find_elsewhere(self, run_ids: Iterable[str]) -> None:
        ids = sorted(run_ids)
        running = runs_by_id(self._client, ids, "attributes.status = 'RUNNING'")
        self._is_elsewhere |= dict.fromkeys(ids, False) | {
            run_id: self._has_live(record.data.tags.get(LEASE, "")) for run_id, record in running.items()
        }

    def _has_live(self, session_id: str) -> bool:
        if session_id not in self._is_live:
            self._is_live[session_id] = bool(session_id) and self._lives_elsewhere(session_id)
        return self._is_live[session_id]

    def _lives_elsewhere(self, session_id: str) -> bool:
        """Return True if a session has not been ended and belongs to another machine.

        A session of this machine may belong to the process that left the records.
        """
        if (session := find_run(self._client, session_id)) is None:
            return False
        is_over = session.info.status in ("FINISHED", "KILLED") or session.info.lifecycle_stage != LifecycleStage.ACTIVE
        return not is_over and session.data.tags.get("host") != socket.gethostname()

    def _finished(self, run_id: str) -> bool:
        run = find_run(self._client, run_id)
        return run is not None and run.info.status == "FINISHED"

    def _histories(self, run_ids: Sequence[str], keys: Sequence[str]) -> list[Point]:
        try:
            return histories(self._client, self._uri, run_ids, keys)
        except MlflowException as error:
            if is_unreachable(error):
                raise
            if len(run_ids) == 1:
                return []  # The run does not exist, so the store will reject its records.
            return [point for run_id in run_ids for point in self._histories([run_id], keys)]


def _run_written(record: Record) -> str:
    """Return the run to which a record adds points, or which it ends; otherwise, an empty string."""
    return record["run"] if record["kind"] in ("metrics", "curve", "end") else ""


def _is_unfinished_end(record: Record) -> bool:
    return record["kind"] == "end" and record["status"] != "FINISHED"


def _keys(record: Record) -> Iterable[str]:
    """Return the metrics to which a record adds points."""
    return [record["key"]] if record["kind"] == "curve" else record["values"] if record["kind"] == "metrics" else ()
