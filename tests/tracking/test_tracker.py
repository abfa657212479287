"""The write side with a real store in a file, read back with MLflow's own client."""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from pydantic import TypeAdapter, ValidationError

from harness.config.keys import key_of
from harness.data.statistics import Column
from harness.errors import ConfigError
from harness.tracking.dataset_record import dataset_inputs
from harness.tracking.mlflow_calls import METRICS
from harness.tracking.model_saver import RawModel
from harness.tracking.outbox import RecordRejected
from harness.tracking.records import _KEY, from_line, to_line
from harness.tracking.tracker import Tracker
from harness.tracking.uri import tracking_uri

COLUMNS = [Column("x", False, 8, 3.0, 0.5, 1.0, 7.0), Column("y", True, 8, 1.0, 2.0, 0.0, 4.0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def uri(folder: Path) -> str:
    """One store for all tests, since creating it takes a second; each test has its own experiment."""
    uri = f"sqlite:///{folder}/mlflow.db"
    Tracker(uri, "first").close()  # Otherwise, MLflow's client would create the store in whichever test runs first.
    return uri


@pytest.fixture
def question(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W+", "-", request.node.name)


@pytest.fixture
def tracker(uri: str, question: str) -> Iterator[Tracker]:
    with Tracker(uri, question) as tracker:
        yield tracker


@pytest.fixture
def plain_tracker(uri: str, question: str) -> Iterator[Tracker]:
    """A tracker that uses only MLflow's client, as for a server."""
    with Tracker(uri, question, use_tables=False) as tracker:
        yield tracker


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


def curve(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


def test_a_run_is_recorded_completely(tracker: Tracker, client: MlflowClient) -> None:
    run_id = tracker.start_run("full lr=0.1", {"chunksize": "full", "epochs": 2, "rate": 0.1}, {"kind": "run"})
    assert client.get_run(run_id).info.status == "RUNNING"
    tracker.log(run_id, {"train/loss": 0.5, "updates": 3}, step=1)
    tracker.log(run_id, {"train/loss": 0.25, "updates": 6}, step=2)
    tracker.log_text(run_id, "chunksize: full\n", "config.yaml")
    tracker.tag(run_id, {"diverged_at": "7"})
    tracker.end_run(run_id, "FINISHED")
    tracker.flush()
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("full lr=0.1", "FINISHED")
    assert run.data.params == {"chunksize": "full", "epochs": "2", "rate": "0.1"}
    assert run.data.metrics == {"train/loss": 0.25, "updates": 6}
    assert {key: run.data.tags[key] for key in ("kind", "diverged_at")} == {"kind": "run", "diverged_at": "7"}
    assert "mlflow.parentRunId" not in run.data.tags
    assert curve(client, run_id, "train/loss") == [(1, 0.5), (2, 0.25)]
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (artifacts / "config.yaml").read_text() == "chunksize: full\n"


def test_artifacts_are_stored_beside_the_store(
    tracker: Tracker, client: MlflowClient, folder: Path, question: str
) -> None:
    experiment = client.get_experiment_by_name(question)
    assert experiment.artifact_location == (folder / "mlartifacts" / question).as_uri()
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] == "val/loss"


def test_files_are_stored_as_they_were_and_an_experiment_can_be_tagged(
    tracker: Tracker, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = tracker.start_run("a", {}, {})
    (tmp_path / "figure.png").write_bytes(b"\x89PNG\x00")
    for place in ("figures", ""):
        tracker.log_artifact(run_id, tmp_path / "figure.png", place)
    (tmp_path / "figure.png").write_bytes(b"changed")
    tracker.tag_experiment({"view": "{}", "other": "x"})
    tracker.flush()
    for place in ("figures/figure.png", "figure.png"):
        assert Path(client.download_artifacts(run_id, place)).read_bytes() == b"\x89PNG\x00"
    tags = client.get_experiment(tracker.experiment_id).tags
    assert (tags["view"], tags["other"]) == ("{}", "x")


def test_a_run_names_the_commit_of_the_harness(tracker: Tracker, client: MlflowClient) -> None:
    root = Path(__file__).parents[2]
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    if answer.returncode:
        pytest.skip("not a checkout")
    run = client.get_run(tracker.start_run("a", {}, {}))
    assert run.data.tags["mlflow.source.git.commit"] == answer.stdout.strip()


def test_the_source_tags_are_those_of_mlflow(uri: str) -> None:
    code = """
import sys, mlflow
from harness.tracking.source_tags import source_tags
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run() as run:
    tags = {key: run.data.tags[key] for key in ("mlflow.user", "mlflow.source.name", "mlflow.source.type")}
own = source_tags()
own.pop("mlflow.source.git.commit", None)
assert own == tags, (own, tags)
"""
    subprocess.run([sys.executable, "-c", code, uri], check=True)


@pytest.mark.parametrize("points", [0, 1, METRICS, METRICS + 1, 3 * METRICS - 1])
def test_curves_of_any_length_arrive_whole_and_in_order(
    plain_tracker: Tracker, client: MlflowClient, points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    log_batch = plain_tracker._client.log_batch

    def count(run_id: str, metrics: Any = (), **others: Any) -> None:
        sent.append(len(metrics))
        log_batch(run_id, metrics=metrics, **others)

    monkeypatch.setattr(plain_tracker._client, "log_batch", count)
    run_id = plain_tracker.start_run("a", {}, {})
    steps = range(1, points + 1)
    plain_tracker.log_curve(run_id, "loss", steps, [1 / step for step in steps])
    plain_tracker.flush()
    assert curve(client, run_id, "loss") == [(step, 1 / step) for step in steps]
    assert max(sent, default=0) <= METRICS
    assert sum(sent) == points


def test_many_small_records_are_sent_together(
    plain_tracker: Tracker, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records of two seconds are sent in one request per run."""
    runs = [plain_tracker.start_run(name, {"a": 1}, {}) for name in "ab"]
    requests: list[str] = []
    log_batch = plain_tracker._client.log_batch
    monkeypatch.setattr(
        plain_tracker._client,
        "log_batch",
        lambda run_id, **these: (requests.append(run_id), log_batch(run_id, **these)),
    )
    for step in range(1, 301):
        for run_id in runs:
            plain_tracker.log(run_id, {"loss": step / 7, "updates": step}, step)
            plain_tracker.tag(run_id, {"step": str(step)})
    for run_id in runs:
        plain_tracker.end_run(run_id, "FINISHED")
    plain_tracker.flush()
    assert requests == runs
    for run_id in runs:
        assert curve(client, run_id, "loss") == [(step, step / 7) for step in range(1, 301)]
        run = client.get_run(run_id)
        assert (run.info.status, run.data.params, run.data.tags["step"]) == ("FINISHED", {"a": "1"}, "300")


def test_values_that_are_not_finite_are_left_out(tracker: Tracker, client: MlflowClient, folder: Path) -> None:
    run_id = tracker.start_run("a", {}, {})
    tracker.log(run_id, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": np.float32(0.5)}, 1)
    tracker.log_curve(run_id, "e", np.arange(1, 5), np.array([1, np.nan, np.inf, 4], np.float32))
    tracker.flush()
    assert client.get_run(run_id).data.metrics == {"d": 0.5, "e": 4}
    assert curve(client, run_id, "e") == [(1, 1), (4, 4)]
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        query = "SELECT key, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key, step"
        assert store.execute(query, [run_id]).fetchall() == [("d", 0.5, 0), ("e", 1, 0), ("e", 4, 0)]


def test_long_values_are_accepted(tracker: Tracker, client: MlflowClient) -> None:
    features = f"[{','.join(f'feature_{i}' for i in range(1000))}]"
    run_id = tracker.start_run("n" * 300, {"data.features": features}, {"command": "harness train " + "x" * 20_000})
    tracker.tag(run_id, {"failure": "line\n" * 10_000})
    tracker.flush()
    run = client.get_run(run_id)
    assert run.data.params["data.features"][:6000] == features[:6000]
    assert run.data.tags["failure"].startswith("line\nline")


def test_the_data_is_an_input_of_the_run_with_its_digest(tracker: Tracker, client: MlflowClient) -> None:
    run_id = tracker.start_run("a", {}, {})
    rows = {"training": 8, "holdout": 3}
    tracker.log_dataset(run_id, "houses", "/data/houses.csv", "0123456789abcdef" * 2, COLUMNS, rows)
    tracker.flush()
    inputs = client.get_run(run_id).inputs.dataset_inputs
    assert [(entry.dataset.name, entry.dataset.digest) for entry in inputs] == [
        ("houses (training)", "0123456789abcdef" * 2),
        ("houses (holdout)", "0123456789abcdef" * 2),
    ]
    assert [json.loads(entry.dataset.profile) for entry in inputs] == [
        {
            "num_rows": 8,
            "columns": {
                "x": {"count": 8, "log": False, "mean": 3.0, "std": 0.5, "min": 1.0, "max": 7.0},
                "y": {"count": 8, "log": True, "mean": 1.0, "std": 2.0, "min": 0.0, "max": 4.0},
            },
        },
        {"num_rows": 3},
    ]
    schema = json.loads(inputs[0].dataset.schema)["mlflow_colspec"]
    assert [column["name"] for column in schema] == ["x", "y"]
    assert [(tag.key, tag.value) for entry in inputs for tag in entry.tags] == [
        ("mlflow.data.context", "training"),
        ("mlflow.data.context", "holdout"),
    ]


def small_model() -> keras.Model:
    entrance = keras.Input((1,), name="x")
    return keras.Model({"x": entrance}, keras.layers.Dense(1)(entrance))


@pytest.mark.parametrize("status", ["RUNNING", "FINISHED"])
def test_a_model_is_the_runs_and_leaves_its_ending_alone(tracker: Tracker, client: MlflowClient, status: str) -> None:
    run_id = tracker.start_run("a", {"chunksize": "4"}, {})
    if status != "RUNNING":
        tracker.end_run(run_id, status)
    tracker.flush()
    before = client.get_run(run_id).info
    for _ in range(2):
        tracker.prepare_models()
    tracker.log_model(run_id, RawModel(small_model(), {"x": np.array([1.0])}, ["y"]))
    tracker.flush()
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time) == (status, before.end_time)
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.source_run_id, model.experiment_id, str(model.status)) == (run_id, tracker.experiment_id, "READY")
    assert model.params == {"chunksize": "4"}


def test_a_model_that_cannot_be_saved_does_not_fail_its_run(tracker: Tracker, client: MlflowClient) -> None:
    run_id = tracker.start_run("a", {}, {})
    tracker.end_run(run_id, "FINISHED")
    with pytest.raises(AttributeError):
        tracker.log_model(run_id, RawModel("no model", {"x": np.array([1.0])}, ["y"]))
    tracker.flush()
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_run_that_has_ended_can_be_resumed(tracker: Tracker, client: MlflowClient) -> None:
    run_id = tracker.start_run("a", {}, {})
    tracker.end_run(run_id, "KILLED")
    tracker.flush()
    assert client.get_run(run_id).info.status == "KILLED"
    tracker.resume_run(run_id, {"host": "here"})
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["host"]) == ("RUNNING", "here")


def test_an_unknown_run_cannot_be_resumed(tracker: Tracker, uri: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        tracker.resume_run("0" * 32, {})
    assert str(refusal.value) == (
        f"tracking.uri: {uri} does not contain run {'0' * 32}, which belongs to the sweep in this folder. "
        "Use the store that the sweep started with, or another hydra.sweep.dir."
    )


def test_endings_are_held_back_until_they_are_sent(uri: str, tmp_path: Path) -> None:
    with Tracker(uri, "harness", tmp_path) as tracker:
        buffer, run_id = tracker.buffer, tracker.start_run("a run", {}, {})

        def save_and_be_interrupted() -> None:
            with buffer.hold():
                tracker.end_run(run_id, "FINISHED")
                assert [record["kind"] for record in buffer.held] == ["end"]
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            save_and_be_interrupted()
        assert buffer.dropped_endings == {run_id}
        with buffer.hold():
            tracker.end_run(run_id, "FINISHED")
            buffer.release(buffer.held)
            assert buffer.held == []
        assert buffer.dropped_endings == set()


def test_records_are_written_without_being_asked_for(tracker: Tracker, client: MlflowClient) -> None:
    """A user looks at the UI while the sweep runs."""
    run_id = tracker.start_run("a", {}, {})
    tracker.log(run_id, {"loss": 1.0}, 1)
    deadline = time.monotonic() + 10
    while not client.get_run(run_id).data.metrics and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.get_run(run_id).data.metrics == {"loss": 1.0}


def test_what_records_is_stopped_before_the_end(uri: str, client: MlflowClient, question: str) -> None:
    tracker = Tracker(uri, question)
    run_id = tracker.start_run("a", {}, {})
    tracker.stop_first(lambda: tracker.log(run_id, {"last": 1.0}))
    tracker.close()
    assert client.get_run(run_id).data.metrics == {"last": 1.0}


@pytest.mark.parametrize("ask", ["flush", "close"])
def test_an_error_in_the_background_is_raised_when_asked(
    uri: str, client: MlflowClient, question: str, ask: str
) -> None:
    tracker = Tracker(uri, question)
    run_id = tracker.start_run("a", {}, {})
    tracker.log("no_such_run", {"loss": 1.0})
    tracker.log(run_id, {"loss": 2.0})
    tracker.end_run(run_id, "FINISHED")
    with pytest.raises(RecordRejected, match="no_such_run"):
        getattr(tracker, ask)()
    run = client.get_run(run_id)  # Everything that could be written is there.
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 2.0})
    if ask == "flush":
        with pytest.raises(RecordRejected, match="no_such_run"):
            tracker.close()
    assert "tracking" not in {thread.name for thread in threading.enumerate()}


def test_leaving_raises_an_error_of_the_background_unless_there_is_one_already(uri: str, question: str) -> None:
    with pytest.raises(RecordRejected, match="no_such_run"), Tracker(uri, question) as tracker:
        tracker.log("no_such_run", {"loss": 1.0})
    with pytest.raises(KeyboardInterrupt), Tracker(uri, question) as tracker:  # noqa: PT012
        tracker.log("no_such_run", {"loss": 1.0})
        raise KeyboardInterrupt


def test_a_relative_path_names_one_store_wherever_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_uri("sqlite:///deep/down/m.db") == f"sqlite:///{tmp_path}/deep/down/m.db"
    assert tracking_uri("http://localhost:5000") == "http://localhost:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert tracking_uri() == f"sqlite:///{tmp_path}/other.db"
    assert tracking_uri(f"sqlite:///{tmp_path}/m.db") == f"sqlite:///{tmp_path}/m.db"
    with Tracker(tracking_uri("sqlite:///deep/down/m.db"), "question") as tracker:
        run_id = tracker.start_run("a", {}, {})
        monkeypatch.chdir("/")
        tracker.log_text(run_id, "text", "note.txt")
        tracker.end_run(run_id, "FINISHED")
    notes = list(tmp_path.rglob("note.txt"))
    assert notes == [tmp_path / "deep" / "down" / "mlartifacts" / "question" / run_id / "artifacts" / "note.txt"]


def test_a_new_store_lets_others_read_while_one_writes(tracker: Tracker, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        assert store.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_a_second_tracker_uses_the_same_experiment(
    tracker: Tracker, uri: str, client: MlflowClient, question: str
) -> None:
    with Tracker(uri, question) as second, Tracker(uri, "another") as third:
        assert second.experiment_id == tracker.experiment_id != third.experiment_id
        runs = [each.start_run("a", {}, {}) for each in (tracker, second, third)]
        for each, run_id in zip((tracker, second, third), runs, strict=True):
            each.end_run(run_id, "FINISHED")
    tracker.flush()
    assert [client.get_run(run_id).info.status for run_id in runs] == ["FINISHED"] * 3
    assert len(client.search_runs([tracker.experiment_id])) == 2


@pytest.mark.slow
def test_processes_that_create_the_store_at_the_same_time_share_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    code = """
import sys
from harness.tracking.tracker import Tracker
print("ready", flush=True)
sys.stdin.readline()
with Tracker(sys.argv[1], "question") as tracker:
    for number in range(5):
        run_id = tracker.start_run(str(number), {"a": 1}, {})
        tracker.log(run_id, {"loss": 1.0}, 1)
        tracker.end_run(run_id, "FINISHED")
"""
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", code, uri], **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert answers == [("", "", 0), ("", "", 0)]
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("question").experiment_id])
    assert [(run.info.status, run.data.metrics) for run in runs] == [("FINISHED", {"loss": 1.0})] * 10


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:9", "[Errno 111] Connection refused"),
        ("sqlite:///{folder}", "unable to open database file"),
        ("sqlite:///{folder}/text.csv", "file is not a database"),
        ("nonsense://store", "got unsupported URI 'nonsense://store'"),
    ],
)
def test_an_unreachable_store_is_refused_quickly(
    tmp_path: Path, address: str, reason: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    (tmp_path / "text.csv").write_text("x,y\n1,2\n" * 1000)
    uri = address.format(folder=tmp_path)
    before = dict(os.environ)
    start = time.monotonic()
    with pytest.raises(ConfigError) as refusal:
        Tracker(uri, "question")
    assert time.monotonic() - start < 15
    assert str(refusal.value).startswith(f"tracking.uri: cannot open the tracking store {uri} (")
    assert reason.format(folder=tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert dict(os.environ) == before
    assert capfd.readouterr().err == ""


def test_a_tracker_that_cannot_be_created_leaves_the_environment_as_it_was(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    (tmp_path / "outbox").touch()
    before = dict(os.environ)
    with pytest.raises(FileExistsError):
        Tracker(uri, "question", tmp_path / "outbox")
    assert dict(os.environ) == before


def test_a_deleted_experiment_is_refused(uri: str, client: MlflowClient, question: str) -> None:
    with Tracker(uri, question) as tracker:
        client.delete_experiment(tracker.experiment_id)
    with pytest.raises(ConfigError) as refusal:
        Tracker(uri, question)
    assert str(refusal.value) == (
        f"tracking.experiment: {question!r} was deleted. Restore it with "
        f"`mlflow experiments restore -x {tracker.experiment_id}`, or use another name."
    )
    with Tracker(uri, "another name") as other:
        assert other.experiment_id != tracker.experiment_id


@pytest.mark.parametrize("name", ["", " "])
def test_an_experiment_needs_a_name(uri: str, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid name"):
        Tracker(uri, name)


def test_the_record_of_a_very_wide_table_describes_its_first_columns() -> None:
    columns = [Column(f"column {number}", False, 8, 3.0, 0.5, 1.0, 7.0) for number in range(20_000)]
    inputs = dataset_inputs("wide", "/w.csv", "0" * 32, columns, {"training": 8})
    record = {"kind": "dataset", "run": "a", "inputs": inputs}
    assert from_line(to_line(record)) == record
    schema = json.loads(inputs[0]["dataset"]["schema"])["mlflow_colspec"]
    assert 10_000 < len(schema) < 20_000
    assert schema[-1]["name"] == f"column {len(schema) - 1}"


def test_a_key_of_a_metric_may_have_any_letter() -> None:
    keys = TypeAdapter(dict[_KEY, int])
    assert keys.validate_python({key_of("weight/area [m²]"): 1})
    for key in ("<a", "a<", "a\n", ""):
        with pytest.raises(ValidationError):
            keys.validate_python({key: 1})
