"""What is written straight into a local store, against what MLflow's own calls make of the same records."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.tracking.tracker import Tracker

TABLES = {
    "runs": "name, source_type, source_name, entry_point_name, user_id, status, source_version, lifecycle_stage, "
    "deleted_time, experiment_id, start_time > 0, end_time >= start_time, "
    "replace(artifact_uri, run_uuid, 'ID') LIKE '%/mlartifacts/same/ID/artifacts'",
    "tags": "runs.name, key, value",
    "params": "runs.name, key, value",
    "metrics": "runs.name, key, value, step, is_nan, timestamp > 0",
    "latest_metrics": "runs.name, key, value, step, is_nan, timestamp > 0",
    "inputs": "runs.name, inputs.source_type, destination_type, step",
    "input_tags": "runs.name, input_tags.name, value",
    "datasets": "name, digest, dataset_source_type, dataset_source, dataset_schema, dataset_profile, experiment_id",
}
"""What must be the same, whatever ids and times are."""


def rows(path: Path) -> dict[str, list]:
    joined = dict.fromkeys(("tags", "params", "metrics", "latest_metrics"), "JOIN runs USING (run_uuid)")
    joined["inputs"] = "JOIN runs ON destination_id = run_uuid"
    joined["input_tags"] = "JOIN inputs USING (input_uuid) JOIN runs ON destination_id = run_uuid"
    with closing(sqlite3.connect(path)) as store:
        return {
            table: sorted(store.execute(f"SELECT {what} FROM {table} {joined.get(table, '')}"), key=repr)
            for table, what in TABLES.items()
        }


def record(tracker: Tracker) -> None:
    """Record what may come, in several rounds."""
    one, two = tracker.start_runs(
        [("one", {"a": 1, "long": "x" * 7000}, {"kind": "run"}), ("two", {}, {"t": "y" * 9000})]
    )
    tracker.log(one, {"loss": 0.5, "updates": 3, "bad": float("nan")}, 1)
    tracker.log_curve(one, "chunk", [5, 3, 4], [1.0, 2.0, 3.0])
    tracker.tag(one, {"kind": "other", "new": "1"})
    tracker.flush()
    tracker.log(one, {"loss": 0.25, "updates": 3}, 2)
    tracker.log_curve(one, "chunk", [2, 1], [9.0, 8.0])
    tracker.tag(one, {"new": "2"})
    tracker.log_dataset(one, "data", Path("data.csv"), "0" * 32, [], {"training": 8})
    tracker.log_dataset(two, "data", Path("data.csv"), "0" * 32, [], {"training": 8, "holdout": 2})
    tracker.end_run(one, "FINISHED")
    tracker.end_run(two, "FAILED")
    tracker.flush()
    tracker.tag(two, {"after": "its end"})


def test_both_ways_leave_the_same_rows(tmp_path: Path) -> None:
    stores = {}
    for way in ("local", "calls"):
        path = tmp_path / way / "mlflow.db"
        with Tracker(f"sqlite:///{path}", "same") as tracker:
            assert tracker._delivery._local is not None
            if way == "calls":
                tracker._delivery._local = None
            record(tracker)
        stores[way] = rows(path)
    assert stores["local"]["latest_metrics"]
    assert stores["local"] == stores["calls"]


@pytest.mark.parametrize("ways", [("calls", "local"), ("local", "local"), ("local", "calls")], ids="-".join)
def test_what_is_delivered_twice_is_there_once(tmp_path: Path, ways: tuple[str, str]) -> None:
    path = tmp_path / "mlflow.db"
    counts: list[list[int]] = []
    started: list[str] = []
    for way in ways:
        with Tracker(f"sqlite:///{path}", "twice") as tracker:
            if way == "calls":
                tracker._delivery._local = None
            run_id = started[0] if started else tracker.start_run("one", {}, {})
            started.append(run_id)
            tracker.log_dataset(run_id, "data", Path("data.csv"), "0" * 32, [], {"training": 8, "holdout": 2})
        with closing(sqlite3.connect(path)) as store:
            tables = ("datasets", "inputs", "input_tags")
            counts.append([store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables])
    assert counts == [[2, 2, 2]] * 2


def test_a_run_that_is_gone_stops_no_other(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = Tracker(uri, "gone")
    kept, gone = tracker.start_runs([("kept", {}, {}), ("gone", {}, {})])
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        for table in ("tags", "runs"):
            store.execute(f"DELETE FROM {table} WHERE run_uuid = '{gone}'")
    for run_id in (gone, kept):
        tracker.log(run_id, {"loss": 0.5}, 1)
        tracker.end_run(run_id, "FINISHED")
    with pytest.raises(MlflowException, match="not found"):
        tracker.close()
    run = MlflowClient(uri).get_run(kept)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 0.5})


def test_tables_that_are_not_known_are_left_to_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TypeError("an unexpected keyword argument")

    monkeypatch.setattr("harness.tracking._compat_sqlite.LocalStore.start", fail)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with Tracker(uri, "unknown") as tracker:
        run_id = tracker.start_run("a", {"b": 1}, {})
        tracker.log(run_id, {"loss": 0.5}, 1)
    run = MlflowClient(uri).get_run(run_id)
    assert (run.info.run_name, run.data.params, run.data.metrics) == ("a", {"b": "1"}, {"loss": 0.5})


def test_a_store_that_was_written_to_finds_a_runs_points_by_the_run(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with Tracker(f"sqlite:///{path}", "many") as tracker:
        for run_id in tracker.start_runs([(str(number), {}, {}) for number in range(50)]):
            tracker.log_curve(run_id, "loss", range(50), [0.5] * 50)
    question = (
        "EXPLAIN QUERY PLAN SELECT value FROM metrics WHERE run_uuid IN ('a', 'b') AND key = 'loss' ORDER BY step"
    )
    with closing(sqlite3.connect(path)) as store:
        plan = " ".join(line[3] for line in store.execute(question))
    assert "(run_uuid=? AND key=?)" in plan
