"""Removes what is out of date from records that an earlier process could not deliver.

Another process may have trained the same runs since then, and MLflow keeps a separate point for each timestamp.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.tracking._compat_history import Point, histories
from harness.tracking.records import Record
from harness.tracking.store_errors import is_unreachable


class StoredPoints:
    """The steps at which a store had points when first asked, and which runs had finished by then."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self._client, self._uri = client, uri
        self._steps: dict[tuple[str, str], set[int]] = {}
        self._has_finished: dict[str, bool] = {}

    def read(self, records: Iterable[Record]) -> None:
        """Read the metrics to which `records` add points, and the runs that they end, unless they are already known."""
        records = list(records)
        for run_id in {record["run"] for record in records if _is_unfinished_end(record)} - self._has_finished.keys():
            self._has_finished[run_id] = self._finished(run_id)
        wanted: dict[str, list[str]] = {}
        for run_id, key in dict.fromkeys((record["run"], key) for record in records for key in _keys(record)):
            if (run_id, key) not in self._steps:
                wanted.setdefault(run_id, []).append(key)
        alike: dict[tuple[str, ...], list[str]] = {}
        for run_id, keys in wanted.items():
            alike.setdefault(tuple(keys), []).append(run_id)
        for keys, run_ids in alike.items():
            found: dict[tuple[str, str], set[int]] = {(run_id, key): set() for run_id in run_ids for key in keys}
            for run_id, key, step, _ in self._histories(run_ids, keys):
                found[run_id, key].add(step)
            self._steps |= found

    def without(self, records: Iterable[Record]) -> list[Record]:
        """Return `records` without points that the store had, and without failed ends of finished runs."""
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

    def _finished(self, run_id: str) -> bool:
        try:
            return self._client.get_run(run_id).info.status == "FINISHED"
        except MlflowException as error:
            if is_unreachable(error):
                raise
            return False  # There is no such run.

    def _histories(self, run_ids: Sequence[str], keys: Sequence[str]) -> list[Point]:
        try:
            return histories(self._client, self._uri, run_ids, keys)
        except MlflowException as error:
            if is_unreachable(error):
                raise
            if len(run_ids) == 1:
                return []  # The run does not exist, so the store will reject its records.
            return [point for run_id in run_ids for point in self._histories([run_id], keys)]


def _is_unfinished_end(record: Record) -> bool:
    return record["kind"] == "end" and record["status"] != "FINISHED"


def _keys(record: Record) -> Iterable[str]:
    """Return the metrics to which a record adds points."""
    return [record["key"]] if record["kind"] == "curve" else record["values"] if record["kind"] == "metrics" else ()
