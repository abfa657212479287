"""Histories read in bulk, compared with those that MLflow's public client returns."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.tracking import _compat_history
from harness.tracking._compat_history import histories, public_histories
from harness.tracking.tracker import Tracker
from tests.servers import running

METRICS = ["val/loss", "train/chunk_loss", "no such metric"]


def record(uri: str) -> list[str]:
    with Tracker(uri, "question") as tracker:
        runs = tracker.start_runs([(str(number), {}, {}) for number in range(5)])
        for number, run_id in enumerate(runs):
            tracker.log_curve(run_id, "train/chunk_loss", range(number, 0, -1), [0.5] * number)
            for step in (1, 2):
                tracker.log(run_id, {"val/loss": step / 7}, step)
                tracker.log(run_id, {"val/loss": step / 9}, step)
    return sorted(runs)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("The public way is not wanted here.")

    monkeypatch.setattr(_compat_history, "public_histories", fail)


def test_a_local_store_is_read_as_mlflow_reads_it(tmp_path: Path, refused: None) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    runs, client = record(uri), MlflowClient(uri)
    found = histories(client, uri, runs, METRICS)
    assert found == list(public_histories(client, runs, METRICS))
    assert len(found) == 10 + 20


def test_a_store_of_an_untested_revision_is_read_with_mlflow(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    runs, client = record(uri), MlflowClient(uri)
    expected = histories(client, uri, runs, METRICS)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        store.execute("UPDATE alembic_version SET version_num = 'another'")
        store.execute("CREATE TABLE metrics_copy AS SELECT * FROM metrics")
    assert histories(client, uri, runs, METRICS) == expected


@pytest.mark.parametrize("points_per_answer", [25_000, 3, 1])
@pytest.mark.slow
def test_a_server_is_read_as_mlflow_reads_it_however_few_points_an_answer_holds(
    server_with_runs: tuple[str, list[str]], points_per_answer: int
) -> None:
    uri, runs = server_with_runs
    client = MlflowClient(uri)
    found = histories(client, uri, runs, METRICS, points_per_answer)
    assert found == list(public_histories(client, runs, METRICS))
    assert len(found) == 30


@pytest.mark.slow
def test_a_server_is_asked_for_many_runs_at_once(server_with_runs: tuple[str, list[str]], refused: None) -> None:
    uri, runs = server_with_runs
    assert len(histories(MlflowClient(uri), uri, runs, METRICS)) == 30


def test_a_server_without_that_request_is_read_with_mlflow(server_with_runs: tuple[str, list[str]]) -> None:
    uri, runs = server_with_runs
    client = MlflowClient(uri)
    assert histories(client, f"{uri}/elsewhere", runs, METRICS) == histories(client, uri, runs, METRICS)


@pytest.fixture(scope="module")
def server_with_runs(tmp_path_factory: pytest.TempPathFactory) -> object:
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server.uri, record(server.uri)
