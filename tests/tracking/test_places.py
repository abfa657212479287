"""Stores in folders with any name, and addresses that do not name a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from sqlalchemy import make_url

from harness.errors import ConfigError
from harness.tracking.client import client_of
from harness.tracking.model_saver import RawModel
from harness.tracking.reader import RunReader
from harness.tracking.store import open_store
from harness.tracking.tracker import Tracker
from harness.tracking.uri import file_path, mlflow_uri, sqlite_path, tracking_uri
from tests.servers import running_ui

NAMES = ["a?b", "a%41b", "50%", "%2e%2e%2fx", "a#b", "c d", "größe", 'it\'s "b"', "[a]*{b}", "/:x,;&@=$", "a%3Fb\\n"]
COMMAND = Path(sys.executable).with_name("harness")


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, alone in its parent folder."""
    folder = tmp_path / "alone" / request.param.strip("/")
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def test_a_store_stays_in_its_working_folder(folder: Path, tmp_path: Path) -> None:
    uri = tracking_uri()
    assert sqlite_path(uri) == folder / "mlflow.db"
    assert make_url(uri).database == str(folder / "mlflow.db")
    with Tracker(uri, "harness", folder / "outbox") as tracker:
        run_id = tracker.start_run("a", {}, {"kind": "run"})
        tracker.log(run_id, {"x": 1.0})
        tracker.log_text(run_id, "text", "some.txt")
        tracker.log_artifact(run_id, Path(__file__))
    reader = RunReader(uri)
    run = reader.run(run_id)
    assert run.data.metrics == {"x": 1.0}
    assert file_path(run.info.artifact_uri) == folder / "mlartifacts" / "harness" / run_id / "artifacts"
    assert Path(reader.client.download_artifacts(run_id, "some.txt", str(tmp_path))).read_text() == "text"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert {path.name for path in folder.iterdir()} <= {"mlflow.db", "mlflow.db.lock", "mlartifacts", "mlflow.db-shm"}


def test_a_model_is_logged_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a?b%41#c d'ü"
    folder.mkdir()
    monkeypatch.chdir(folder)
    model = keras.Sequential([keras.Input((1,), name="x"), keras.layers.Dense(1)])
    with Tracker(tracking_uri(), "harness", folder / "outbox") as tracker:
        run_id = tracker.start_run("a", {}, {})
        tracker.log_model(run_id, RawModel(model, {"x": np.array([1.0])}, ["y"]))
    client = client_of(tracking_uri())
    (output,) = client.get_run(run_id).outputs.model_outputs
    location = file_path(client.get_logged_model(output.model_id).artifact_location)
    assert location
    assert location.is_relative_to(folder)
    assert list(location.rglob("*.keras"))


@pytest.mark.slow
def test_the_ui_shows_artifacts_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "alone" / "a?b%41#c d'ü"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    with Tracker(tracking_uri(), "harness", folder / "outbox") as tracker:
        run_id = tracker.start_run("a", {}, {})
        tracker.log_text(run_id, "text", "some.txt")
    with running_ui(folder) as address:
        query = urllib.parse.urlencode({"path": "some.txt", "run_uuid": run_id})
        with urllib.request.urlopen(f"{address}/get-artifact?{query}", timeout=30) as answer:
            assert answer.read() == b"text"
        query = urllib.parse.urlencode({"experiment_id": "1"})
        with urllib.request.urlopen(f"{address}/api/2.0/mlflow/experiments/get?{query}", timeout=30) as answer:
            assert json.load(answer)["experiment"]["name"] == "harness"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["ü" * 240, "a/b", "..", "x" * 201, "a b"])
def test_an_experiment_of_any_name_has_a_folder(name: str, tmp_path: Path) -> None:
    with Tracker(f"sqlite:///{tmp_path}/mlflow.db", name, tmp_path / "outbox") as tracker:
        tracker.log_text(tracker.start_run("a", {}, {}), "text", "some.txt")
    (path,) = tmp_path.rglob("some.txt")
    assert path.parents[2].parent == tmp_path / "mlartifacts"


def test_a_store_has_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    names = [
        "mlflow.db",
        "./mlflow.db",
        "link/mlflow.db",
        f"{tmp_path}//link/../{tmp_path.name}/mlflow.db",
        "%6dlflow.db",
    ]
    schemes = ["sqlite", "sqlite+pysqlite"]
    found = {tracking_uri(f"{scheme}:///{name}") for name in names for scheme in schemes}
    assert found == {f"sqlite:///{tmp_path}/mlflow.db"}
    assert {tracking_uri(uri) for uri in found} == found
    assert tracking_uri("http://a/b?c=%41") == mlflow_uri("http://a/b?c=%41") == "http://a/b?c=%41"


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("sqlite://", "does not name a file that would keep the records. Write sqlite:///mlflow.db."),
        ("sqlite:///", "does not name a file that would keep the records. Write sqlite:///mlflow.db."),
        ("sqlite:///:memory:", "does not name a file that would keep the records. Write sqlite:///mlflow.db."),
        ("sqlite:///file:a", "does not name a file that would keep the records. Write sqlite:///mlflow.db."),
        ("sqlite:///a%00b", "does not name a file that would keep the records. Write sqlite:///mlflow.db."),
        ("other.db", "does not name a database or a server. Write sqlite:///other.db."),
        ("mlruns", "does not name a database or a server. Write sqlite:///mlruns/mlflow.db."),
        ("file:///a/b/", "does not name a database or a server. Write sqlite:////a/b/mlflow.db."),
        ("sqlite://a.db", "has too few slashes. Write sqlite:///a.db, or four slashes for an absolute path."),
    ],
)
def test_anything_but_a_file_is_rejected(
    uri: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (tracking_uri, RunReader, lambda uri: open_store(uri, "harness")):
        with pytest.raises(ConfigError) as refusal:
            call(uri)
        assert str(refusal.value) == f"tracking.uri: {uri} {sentence}"
    assert list(tmp_path.iterdir()) == []


def test_options_are_refused() -> None:
    with pytest.raises(ConfigError) as refusal:
        tracking_uri("sqlite:///x.db?timeout=5")
    assert str(refusal.value) == (
        "tracking.uri: sqlite:///x.db?timeout=5: options are not supported. Write %3F for a question mark in a path."
    )


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///x.db?timeout=5"])
@pytest.mark.slow
def test_they_are_refused_before_training(uri: str, tmp_path: Path) -> None:
    for words in (["train", f"tracking.uri={uri!r}", "data.rows=100"], ["compare", "--uri", uri]):
        answer = subprocess.run([COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ))
        assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
        assert answer.stderr.startswith(f"harness: tracking.uri: {uri}")
    assert not list(tmp_path.rglob("*.db*"))


def test_an_experiment_that_another_process_has_just_created_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    _, experiment_id = open_store(uri, "harness")
    find, seen = MlflowClient.get_experiment_by_name, []

    def find_late(self: MlflowClient, name: str) -> object:
        seen.append(name)
        return find(self, name) if len(seen) > 1 else None

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", find_late)
    assert open_store(uri, "harness")[1] == experiment_id
