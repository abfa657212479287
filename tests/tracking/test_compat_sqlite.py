"""Records written directly to a local store's tables, compared with those that MLflow's own client writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from harness.data.statistics import Column
from harness.tracking._compat_schema import TESTED_REVISIONS
from harness.tracking._compat_sqlite import Batch, LocalStore, Unsupported
from harness.tracking.outbox import RecordRejected
from harness.tracking.tracker import Tracker

COLUMNS = [Column("x", False, 8, 3.0, 0.5, 1.0, 7.0), Column("y", True, 8, 1.0, 2.0, 0.0, 4.0)]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_the_installed_mlflow_makes_stores_of_a_tested_revision(uri: str, tmp_path: Path) -> None:
    Tracker(uri, "new").close()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        ((revision,),) = store.execute("SELECT version_num FROM alembic_version").fetchall()
    assert revision in TESTED_REVISIONS, "Compare the tables with `_compat_sqlite`, then add the revision."


def contents(uri: str) -> dict[str, Any]:
    """Everything that MLflow's public client returns from a store, except ids and times."""
    client = MlflowClient(uri)
    experiments = client.search_experiments(ViewType.ALL, filter_string="name != 'Default'")
    ids = [experiment.experiment_id for experiment in experiments]
    runs = {run.info.run_name: described(client, run) for run in client.search_runs(ids, "", ViewType.ALL)}
    return {"experiments": [(each.name, each.lifecycle_stage, each.tags) for each in experiments], "runs": runs}


def described(client: MlflowClient, run: Run) -> dict[str, Any]:
    info = {key: value for key, value in run.info if key not in ("run_id", "run_uuid", "start_time", "end_time")}
    info["artifact_uri"] = run.info.artifact_uri.rpartition("/mlartifacts/")[2].replace(run.info.run_id, "ID")
    artifacts = [(file.path, file.file_size) for file in client.list_artifacts(run.info.run_id)]
    histories = {
        key: [
            (point.step, point.value, point.timestamp > 0) for point in client.get_metric_history(run.info.run_id, key)
        ]
        for key in run.data.metrics
    }
    return {
        "info": info,
        "has_ended": run.info.end_time is not None and run.info.end_time >= run.info.start_time,
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": run.data.metrics,
        "histories": {key: sorted(points) for key, points in histories.items()},
        "inputs": [entry.to_dictionary() for entry in run.inputs.dataset_inputs],
        "artifacts": artifacts,
    }


def record(tracker: Tracker) -> None:
    """Record something of every kind, in several rounds."""
    one, two, three = tracker.start_runs(
        [("one", {"a": 1, "long": "x" * 7000}, {"kind": "run"}), ("two", {}, {"t": "y" * 9000}), ("three", {}, {})]
    )
    tracker.log(one, {"loss": 0.5, "updates": 3, "bad": float("nan")}, 1)
    tracker.log_curve(one, "chunk", [5, 3, 4], [1.0, 2.0, 3.0])
    tracker.tag(one, {"kind": "other", "new": "1", "long": "z" * 9000})
    tracker.tag(three, {"mlflow.runName": "renamed"})
    tracker.log_text(one, "text", "note.txt")
    tracker.flush()
    tracker.log(one, {"loss": 0.25, "updates": 3}, 2)
    tracker.log_curve(one, "chunk", [2, 1], [9.0, 8.0])
    tracker.tag(one, {"new": "2"})
    tracker.log_dataset(one, "data", "data.csv", "0" * 32, COLUMNS, {"training": 8})
    tracker.log_dataset(two, "data", "data.csv", "0" * 32, [], {"training": 8, "holdout": 2})
    tracker.log_dataset(two, "data", "data.csv", "0" * 32, [], {"training": 8, "holdout": 2})
    tracker.end_run(one, "FINISHED")
    tracker.end_run(two, "FAILED")
    tracker.flush()
    tracker.tag(two, {"after": "its end"})


@pytest.fixture(scope="module")
def written_publicly(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    uri = f"sqlite:///{tmp_path_factory.mktemp('public')}/mlflow.db"
    with Tracker(uri, "same", use_tables=False) as tracker:
        record(tracker)
    return contents(uri)


def test_both_ways_leave_the_same_records(uri: str, written_publicly: dict[str, Any]) -> None:
    with Tracker(uri, "same") as tracker:
        record(tracker)
    assert set(written_publicly["runs"]) == {"one", "two", "renamed"}
    assert contents(uri) == written_publicly


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The ids of runs that were written with MLflow's client."""
    found: list[str] = []
    log_batch = MlflowClient.log_batch

    def count(self: MlflowClient, run_id: str, *words: Any, **named: Any) -> None:
        found.append(run_id)
        log_batch(self, run_id, *words, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", count)
    return found


def test_a_store_of_an_untested_revision_is_left_to_mlflow(
    uri: str, tmp_path: Path, calls: list[str], written_publicly: dict[str, Any]
) -> None:
    with Tracker(uri, "same") as tracker:
        run_id = tracker.start_run("before", {}, {})
        tracker.tag(run_id, {"a": "1"})
        tracker.flush()
        assert calls == []
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
            store.execute("UPDATE alembic_version SET version_num = 'another'")
        assert LocalStore.at(uri) is None
        record(tracker)
        tracker.flush()
        assert calls
        MlflowClient(uri).set_terminated(run_id)
    found = contents(uri)
    del found["runs"]["before"]
    assert found == written_publicly


def test_only_values_that_mlflow_would_change_use_its_client(uri: str, calls: list[str]) -> None:
    with Tracker(uri, "long") as tracker:
        short, long = tracker.start_runs([("short", {"a": "x"}, {}), ("long", {"a": "x" * 7000}, {})])
        tracker.flush()
        assert calls == [long]
    params = {run: MlflowClient(uri).get_run(run).data.params["a"] for run in (short, long)}
    assert params == {short: "x", long: "x" * 6000}


@pytest.mark.parametrize(
    "batch",
    [
        Batch(metrics=[("a//b", 1.0, 1, 1)]),
        Batch(params={"../a": "1"}),
        Batch(params={"a": "x" * 6001}),
        Batch(tags={"": "1"}),
        Batch(tags={"a": "x" * 8001}),
        Batch(tags={"mlflow.runName": "other"}),
        Batch(ending=("NO SUCH STATUS", 1)),
    ],
)
def test_batches_that_mlflow_would_refuse_or_change_are_unsupported(uri: str, batch: Batch) -> None:
    with Tracker(uri, "odd") as tracker:
        run_id = tracker.start_run("a", {}, {})
        store = LocalStore.at(uri)
        assert store is not None
        before = contents(uri)
        with pytest.raises(Unsupported):
            store.write({run_id: batch})
        assert contents(uri) == before


@pytest.mark.parametrize("ways", [(False, True), (True, True), (True, False)])
def test_inputs_delivered_twice_are_stored_once(uri: str, ways: tuple[bool, bool]) -> None:
    found = []
    run_id = ""
    for use_tables in ways:
        with Tracker(uri, "twice", use_tables=use_tables) as tracker:
            run_id = run_id or tracker.start_run("one", {}, {})
            tracker.log_dataset(run_id, "data", "data.csv", "0" * 32, [], {"training": 8, "holdout": 2})
        found.append(contents(uri)["runs"]["one"]["inputs"])
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_a_missing_run_does_not_stop_others(uri: str, tmp_path: Path) -> None:
    tracker = Tracker(uri, "gone")
    kept, gone = tracker.start_runs([("kept", {}, {}), ("gone", {}, {})])
    tracker.flush()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        for table in ("tags", "runs"):
            store.execute(f"DELETE FROM {table} WHERE run_uuid = '{gone}'")
    for run_id in (gone, kept):
        tracker.log(run_id, {"loss": 0.5}, 1)
        tracker.end_run(run_id, "FINISHED")
    with pytest.raises(RecordRejected, match=f"a record of run {gone} .* was rejected .*not found"):
        tracker.close()
    run = MlflowClient(uri).get_run(kept)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 0.5})


def test_a_store_that_was_written_to_finds_a_runs_points_by_the_run(uri: str, tmp_path: Path) -> None:
    with Tracker(uri, "many") as tracker:
        for run_id in tracker.start_runs([(str(number), {}, {}) for number in range(50)]):
            tracker.log_curve(run_id, "loss", range(50), [0.5] * 50)
    question = (
        "EXPLAIN QUERY PLAN SELECT value FROM metrics WHERE run_uuid IN ('a', 'b') AND key = 'loss' ORDER BY step"
    )
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        plan = " ".join(line[3] for line in store.execute(question))
    assert "(run_uuid=? AND key=?)" in plan


@pytest.mark.parametrize("use_tables", [True, False])
def test_no_file_of_a_connection_stays_beside_the_store(uri: str, tmp_path: Path, use_tables: bool) -> None:
    with Tracker(uri, "files", use_tables=use_tables) as tracker:
        tracker.end_run(tracker.start_run("a", {}, {}), "FINISHED")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["mlflow.db", "mlflow.db.lock"]
