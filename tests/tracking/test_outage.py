"""Outages of the store: no record is lost or stored twice, and the command reports them."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED, UNAUTHENTICATED
from mlflow.tracking import MlflowClient

from harness.data.statistics import Column
from harness.errors import ConfigError
from harness.tracking.model_saver import RawModel
from harness.tracking.outbox import Outbox, RecordRejected, StoreUnreachable, leftover_outboxes, new_outbox
from harness.tracking.records import from_line, to_line
from harness.tracking.store import open_store
from harness.tracking.store_errors import cannot_write, is_unreachable
from harness.tracking.tracker import Tracker
from tests.servers import Proxy, Server, running
from tests.tracking.test_tracker import small_model

COLUMNS = [Column("x", False, 8, 3.0, 0.5, 1.0, 7.0), Column("y", False, 8, 1.0, 2.0, 0.0, 4.0)]
GONE = r"store:  the tracking store is unreachable \(.*Connection refused\); records are kept in {}"
BACK = "store:  the tracking store is reachable again; all records are delivered"
WAITING = "store:  waiting up to 30 s for the tracking store; Ctrl-C stops waiting and keeps the records for later"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.cut()


@pytest.fixture
def client(server: Server) -> MlflowClient:
    return MlflowClient(server.uri)


def history(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


def test_records_made_during_an_outage_arrive_once(proxy: Proxy, client: MlflowClient, tmp_path: Path) -> None:
    said: list[str] = []
    folder = tmp_path / "outbox"
    with Tracker(proxy.uri, "outage", folder, wait=30, say=said.append) as tracker:
        runs = [tracker.start_run(name, {"name": name}, {"kind": "run"}) for name in "ab"]
        tracker.log(runs[0], {"loss": 1.0}, 1)
        tracker.flush()
        proxy.cut()
        began = time.time()
        for step in range(2, 52):
            for run_id in runs:
                tracker.log(run_id, {"loss": 1 / step}, step)
                tracker.log_curve(run_id, "curve", range(step * 10, step * 10 + 10), np.full(10, 1 / step))
            time.sleep(0.05)  # After 2.5 seconds in total, the thread has noticed the outage.
        tracker.tag(runs[0], {"late": "yes"})
        tracker.log_text(runs[0], "text", "note.txt")
        tracker.log_dataset(runs[0], "houses", "/h.csv", "0" * 32, COLUMNS, {"training": 8, "holdout": 3})
        tracker.log_model(runs[0], RawModel(small_model(), {"x": np.array([1.0])}, ["y"]))
        for run_id in runs:
            tracker.end_run(run_id, "FINISHED")
        ended = time.time()
        assert re.fullmatch(GONE.format(folder), said[0])
        assert client.get_run(runs[1]).info.status == "RUNNING"
        proxy.restore()
    assert said[1:] in ([BACK], [WAITING, BACK])
    assert not folder.exists()
    for run_id in runs:
        first = [(1, 1.0)] if run_id == runs[0] else []
        assert history(client, run_id, "loss") == first + [(step, 1 / step) for step in range(2, 52)]
        assert len(history(client, run_id, "curve")) == 500
        info = client.get_run(run_id).info
        assert info.status == "FINISHED"
        assert began <= info.end_time / 1000 <= ended  # The end of the run, not its delivery.
    times = [point.timestamp / 1000 for point in client.get_metric_history(runs[1], "loss")]
    assert began - 0.001 <= min(times) <= max(times) <= ended
    run = client.get_run(runs[0])
    assert (run.data.tags["late"], run.data.params) == ("yes", {"name": "a"})
    assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["houses (training)", "houses (holdout)"]
    assert [entry.path for entry in client.list_artifacts(runs[0])] == ["note.txt"]
    (output,) = run.outputs.model_outputs
    assert str(client.get_logged_model(output.model_id).status) == "READY"


def test_records_delivered_twice_are_stored_once(proxy: Proxy, client: MlflowClient, tmp_path: Path) -> None:
    """As if the process had been killed after a delivery, but before noting it."""
    uri, folder = proxy.uri, tmp_path / "outbox"
    tracker = Tracker(uri, "again", folder)
    run_id = tracker.start_run("a", {"a": 1}, {})
    tracker.log_curve(run_id, "loss", range(1, 1001), 1 / np.arange(1, 1001))
    tracker.log(run_id, {"x": 0.5, "y": -0.5}, 3)
    tracker.log_text(run_id, "text", "note.txt")
    tracker.log_dataset(run_id, "houses", "/h.csv", "1" * 32, COLUMNS, {"training": 8, "holdout": 3})
    tracker.log_model(run_id, RawModel(small_model(), {"x": np.array([1.0])}, ["y"]))
    tracker.end_run(run_id, "FINISHED")
    tracker.flush()
    (kept,) = folder.glob("*.jsonl")
    shutil.copytree(folder, tmp_path / "copy")
    tracker.close()
    before = client.get_run(run_id).to_dictionary()
    shutil.copytree(tmp_path / "copy", folder)
    kept.with_suffix(".delivered").unlink()
    Tracker(uri, "again", folder).close()
    assert not folder.exists()
    assert client.get_run(run_id).to_dictionary() == before
    assert history(client, run_id, "loss") == [(step, 1 / step) for step in range(1, 1001)]
    assert len(history(client, run_id, "x")) == len(history(client, run_id, "y")) == 1
    assert len(client.search_logged_models([tracker.experiment_id])) == 1


def test_the_next_tracker_delivers_what_an_unreachable_store_has_not_received(
    proxy: Proxy, client: MlflowClient, tmp_path: Path
) -> None:
    folder = tmp_path / "outbox"
    tracker = Tracker(proxy.uri, "away", folder, wait=0.5)
    run_id = tracker.start_run("a", {}, {})
    tracker.flush()
    proxy.cut()
    tracker.log(run_id, {"loss": 0.5}, 1)
    tracker.end_run(run_id, "FINISHED")
    start = time.monotonic()
    with pytest.raises(StoreUnreachable, match="are kept in"):
        tracker.flush()
    with pytest.raises(StoreUnreachable) as refusal:
        tracker.close()
    assert time.monotonic() - start < 10
    (kept,) = folder.glob("*.jsonl")
    assert str(kept) in str(refusal.value)
    proxy.restore()
    said: list[str] = []
    with Tracker(proxy.uri, "another question", folder, say=said.append):
        pass
    run = client.get_run(run_id)
    assert (run.info.status, history(client, run_id, "loss")) == ("FINISHED", [(1, 0.5)])
    assert not folder.exists()
    assert said == []


def test_an_interrupt_does_not_wait_for_the_store(proxy: Proxy, tmp_path: Path) -> None:
    said: list[str] = []
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Tracker(proxy.uri, "stop", tmp_path, say=said.append) as tracker:  # noqa: PT012
        run_id = tracker.start_run("a", {}, {})
        tracker.flush()
        proxy.cut()
        tracker.end_run(run_id, "KILLED")
        raise KeyboardInterrupt
    assert time.monotonic() - start < 10
    assert "are kept in" in said[-1]
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


def test_a_refused_leftover_record_does_not_stop_others(proxy: Proxy, tmp_path: Path) -> None:
    with Tracker(proxy.uri, "left") as tracker:
        left = new_outbox(tmp_path, tracker.store)
    left.append({"kind": "metrics", "run": "0" * 32, "values": {"loss": 1.0}, "step": 1, "ms": 1})
    left.close()
    said: list[str] = []
    with Tracker(proxy.uri, "left", tmp_path, say=said.append) as tracker:
        run_id = tracker.start_run("a", {}, {})
        tracker.end_run(run_id, "FINISHED")
    (line,) = said
    assert line.startswith(f"store:  a record of run {'0' * 32} (metrics) was rejected (")
    assert line.endswith(f"; it is kept in {left.rejected}")
    assert from_line(left.rejected.read_bytes())["values"] == {"loss": 1.0}
    assert list(tmp_path.glob("*.jsonl")) == []


# The queue itself, without a store.

URI = "postgresql://me:secret@host/db"


def record(number: int) -> dict[str, Any]:
    return {"kind": "end", "run": "a", "status": "FINISHED", "ms": number}


def numbers(outbox: Outbox) -> list[int]:
    found = []
    while outbox.pending:
        found += [record["ms"] for record in outbox.take().records]
        outbox.mark_delivered()
    return found


def test_an_outbox_returns_its_records_once_and_in_order(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "box" / "a.jsonl", bytes_in_memory=500)
    for number in range(50):
        outbox.append(record(number))
    first = outbox.take().records
    assert 0 < len(first) < 50
    assert outbox.take().records == first  # It has not been delivered yet.
    outbox.mark_delivered()
    outbox.append(record(50))
    assert [each["ms"] for each in first] + numbers(outbox) == list(range(51))
    outbox.close()
    assert not outbox.path.parent.exists()


def test_an_outbox_does_not_grow_with_what_is_delivered(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.jsonl", longest_file=1000)
    for number in range(1000):
        outbox.append(record(number))
        if number % 7 == 0:
            assert numbers(outbox)[-1] == number
        assert outbox.path.stat().st_size < 1500
    outbox.close()
    left = Outbox(outbox.path, create=False)
    assert numbers(left) == [995, 996, 997, 998, 999]
    left.close()


def test_an_outbox_belongs_to_one_process_and_to_anyone_once_that_has_ended(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.tracking.outbox import new_outbox\n"
        "box = new_outbox(Path(sys.argv[1]), 'store')\n"
        "record = lambda number: {'kind': 'end', 'run': 'a', 'status': 'FINISHED', 'ms': number}\n"
        "for n in range(3): box.append(record(n))\n"
        "box.take(); box.mark_delivered(); box.append(record(3))\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    assert list(leftover_outboxes(tmp_path, "store", print)) == []
    process.kill()
    process.communicate()
    (path,) = tmp_path.glob("*.jsonl")
    with path.open("a") as file:
        file.write('{"kind": "end"')  # torn
    assert list(leftover_outboxes(tmp_path, "other", print)) == []
    (left,) = leftover_outboxes(tmp_path, "store", print)
    assert numbers(left) == [3]
    left.close()


@pytest.mark.parametrize("use_tables", [True, False])
def test_points_repeated_by_another_command_are_not_delivered_again(tmp_path: Path, use_tables: bool) -> None:
    """Commands with different caches, or other names for the store, do not see each other's outboxes."""
    uri, link, folder = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/link.db", tmp_path / "outbox"
    with Tracker(uri, "twice") as tracker:
        run_id = tracker.start_run("a", {}, {})
        left = new_outbox(folder, tracker.store)
    curve = {"kind": "curve", "run": run_id, "key": "loss", "ms": 1}
    left.append(curve | {"points": [(1, 1.0), (2, 0.5), (3, 0.25)]})
    left.append({"kind": "metrics", "run": run_id, "values": {"x": 2.0, "y": 3.0}, "step": 1, "ms": 1})
    left.close()
    with Tracker(uri, "twice", tmp_path / "other" / "outbox") as tracker:
        tracker.log_curve(run_id, "loss", (1, 2), (1.0, 0.5))
        tracker.log(run_id, {"x": 2.0}, 1)
    (tmp_path / "link.db").hardlink_to(tmp_path / "a.db")
    Tracker(link, "another question", folder, use_tables=use_tables).close()
    assert not folder.exists()
    assert sorted(history(MlflowClient(uri), run_id, "loss")) == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert history(MlflowClient(uri), run_id, "x") == [(1, 2.0)]
    assert history(MlflowClient(uri), run_id, "y") == [(1, 3.0)]


@contextmanager
def descriptors(number: int) -> Iterator[None]:
    """Let this process open only this many more files in the block."""
    handles = [os.open("/dev/null", os.O_RDONLY) for _ in range(number)]  # Descriptors in between may be in use.
    for handle in handles:
        os.close(handle)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(handles) + 1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_an_outbox_that_cannot_be_opened_now_is_kept(tmp_path: Path) -> None:
    left = new_outbox(tmp_path, "store")
    left.append(record(1))
    left.close()
    said: list[str] = []
    with descriptors(1):
        assert list(leftover_outboxes(tmp_path, "store", said.append)) == []
    assert said == [f"store:  {left.path} cannot be opened at the moment (Too many open files); keeping it."]
    (found,) = leftover_outboxes(tmp_path, "store", said.append)
    assert numbers(found) == [1]
    found.close()


def test_a_lack_of_descriptors_is_an_outage() -> None:
    """No record is rejected because of it."""
    assert is_unreachable(OSError(errno.EMFILE, "Too many open files"))
    assert not is_unreachable(OSError(errno.ENOENT, "No such file"))


def test_a_password_that_is_revoked_costs_no_records() -> None:
    for code in (UNAUTHENTICATED, PERMISSION_DENIED):
        error = MlflowException("no", error_code=code)
        assert is_unreachable(error)
        assert cannot_write(error)
    assert not is_unreachable(MlflowException("no", error_code=INVALID_PARAMETER_VALUE))


def test_many_leftover_outboxes_need_few_descriptors(tmp_path: Path) -> None:
    uri, folder = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "outbox"
    with Tracker(uri, "many") as tracker:
        runs = tracker.start_runs([(str(number), {}, {}) for number in range(40)])
    for run_id in runs:
        left = new_outbox(folder, tracker.store)
        left.append({"kind": "end", "run": run_id, "status": "FINISHED", "ms": 1})
        left.close()
    said: list[str] = []
    with descriptors(30):
        Tracker(uri, "many", folder, say=said.append).close()
    assert said == []
    assert {MlflowClient(uri).get_run(run_id).info.status for run_id in runs} == {"FINISHED"}
    assert not folder.exists()


GOOD = {"kind": "metrics", "run": "a", "values": {"loss": 0.5}, "step": 1, "ms": 1}
BAD_RECORDS: list[Any] = [
    [1],
    7,
    {"kind": "surprise", "run": "a"},
    {"kind": "__init__", "run": "a"},
    {"kind": "metrics", "run": "a"},
    GOOD | {"values": {"loss": "low"}},
    GOOD | {"values": {"loss": math.nan}},
    GOOD | {"values": {"loss": math.inf}},
    GOOD | {"values": {"l" * 251: 1.0}},
    GOOD | {"values": {"a;b": 1.0}},
    GOOD | {"step": 2**63},
    GOOD | {"step": 1.5},
    GOOD | {"ms": -1},
    GOOD | {"ms": 10**15},
    GOOD | {"more": 1},
    GOOD | {"run": "../a"},
    {"kind": "curve", "run": "a", "key": "loss", "points": [[1]], "ms": 1},
    {"kind": "curve", "run": "a", "key": "loss", "points": [[1, 10**400]], "ms": 1},
    {"kind": "dataset", "run": "a", "inputs": [{"context": "training", "dataset": {"name": "a"}}]},
    {"kind": "end", "run": 7, "status": "FINISHED", "ms": 1},
    {"kind": "end", "run": "a", "status": "RUNNING", "ms": 1},
]
BAD_LINES = [b"no JSON\n", b"\xff\n", b"\n", b" \n", b'{"kind": "end"}\n', to_line(GOOD).replace(b"0.5", b"0.6")]


def test_damaged_lines_of_a_leftover_outbox_are_set_aside_and_the_others_delivered(tmp_path: Path) -> None:
    """A run that ends after damaged lines may lack records, so it does not count as finished."""
    uri, folder = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "outbox"
    with Tracker(uri, "bad") as tracker:
        whole, run_id = tracker.start_runs([("a", {}, {}), ("b", {}, {})])
    left = new_outbox(folder, tracker.store)
    left.append({"kind": "end", "run": whole, "status": "FINISHED", "ms": 2})
    left.close()
    Tracker(uri, "bad", folder).close()
    left = new_outbox(folder, tracker.store)
    left.append({"kind": "metrics", "run": run_id, "values": {"loss": 0.5}, "step": 1, "ms": 1})
    left.close()
    bad = [*BAD_LINES, *map(to_line, BAD_RECORDS)]
    with left.path.open("ab") as file:
        file.writelines([*bad, to_line({"kind": "end", "run": run_id, "status": "FINISHED", "ms": 2})])
    said: list[str] = []
    with Tracker(uri, "bad", folder, say=said.append) as tracker:
        tracker.log(run_id, {"own": 1.5}, 1)
    assert said == [
        f"store:  {len(bad)} lines of {left.path} cannot be used (damaged); moved to {left.rejected}. Repeat the "
        "command that wrote the file to complete its runs."
    ]
    assert left.rejected.read_bytes() == b"".join(bad)
    assert list(folder.iterdir()) == [left.rejected]
    run = MlflowClient(uri).get_run(run_id)
    assert (run.info.status, run.data.metrics) == ("KILLED", {"loss": 0.5, "own": 1.5})
    assert MlflowClient(uri).get_run(whole).info.status == "FINISHED"


def test_a_run_that_lacks_a_record_ends_as_killed_even_if_another_process_delivers_its_end(tmp_path: Path) -> None:
    uri, folder = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "outbox"
    with Tracker(uri, "bad") as tracker:
        run_id = tracker.start_run("a", {}, {})
    left = new_outbox(folder, tracker.store)
    left.append({"kind": "end", "run": run_id, "status": "FINISHED", "ms": 2})
    left.reject([b"damaged\n"])
    left.close()
    Tracker(uri, "bad", folder).close()
    assert MlflowClient(uri).get_run(run_id).info.status == "KILLED"


@pytest.mark.parametrize("use_tables", [True, False])
@pytest.mark.parametrize("fault", ["key", "tag", "file", "error"])
def test_a_run_that_lacks_a_record_ends_as_killed_and_others_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, use_tables: bool
) -> None:
    uri, folder = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "outbox"
    tracker = Tracker(uri, "lacking", folder, use_tables=use_tables)
    bad, good = tracker.start_runs([("bad", {"a": "1"}, {}), ("good", {}, {})])
    tracker.flush()
    tracker.log(bad, {"before": 0.5}, 1)
    if fault == "key":
        tracker.tag(bad, {"a;b": "1"})
    elif fault == "tag":
        tracker.tag(bad, {"../a": "1"})  # MLflow rejects it.
    elif fault == "file":
        tracker.log_artifact(bad, tmp_path / "mlflow.db")
        shutil.rmtree(next(folder.glob("*.files")))
    else:
        monkeypatch.setattr(MlflowClient, "log_text", lambda *words: 1 / 0)
        tracker.log_text(bad, "text", "note.txt")
    tracker.log(bad, {"after": 0.5}, 1)
    for run_id in (bad, good):
        tracker.end_run(run_id, "FINISHED")
    with pytest.raises(RecordRejected) as refusal:
        tracker.close()
    assert "\n" not in str(refusal.value)
    (kept,) = folder.iterdir()
    assert str(kept) in str(refusal.value)
    found = [MlflowClient(uri).get_run(run_id) for run_id in (bad, good)]
    assert [run.info.status for run in found] == ["KILLED", "FINISHED"]
    assert found[0].data.metrics == {"before": 0.5, "after": 0.5}
    Tracker(uri, "lacking", folder).close()  # The next one succeeds.


def test_passwords_are_recorded_nowhere(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = Tracker(uri, "q", tmp_path / "outbox")
    command = f"harness train tracking.uri={URI} seed=1"
    run_id = tracker.start_run(command, {"tracking.uri": URI}, {"command": command})
    tracker.tag(run_id, {"failure": f"no {URI}"})
    tracker.log_text(run_id, f"tracking:\n  uri: {URI}\n", "config.yaml")
    (kept,) = (tmp_path / "outbox").glob("*.jsonl")
    assert "secret" not in kept.read_text() + kept.name
    tracker.close()
    run = open_store(uri, "q")[0].get_run(run_id)
    assert "secret" not in json.dumps(run.to_dictionary())
    assert run.data.params["tracking.uri"] == "postgresql://me:***@host/db"
    assert run.info.run_name == "harness train tracking.uri=postgresql://me:***@host/db seed=1"
    for file in tmp_path.rglob("config.yaml"):
        assert "secret" not in file.read_text()


@pytest.mark.parametrize("uri", ["http://me:secret@127.0.0.1:9", URI])
def test_a_refusal_shows_no_password(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        Tracker(uri, "q", tmp_path)
    assert "://me:***@" in str(refusal.value)
    assert "secret" not in str(refusal.value)


COMMAND = Path(sys.executable).with_name("harness")


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start the real command in a folder."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "HYDRA_"))}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([COMMAND, "train", *words], cwd=folder, env=environment, **pipes)


def wait_for_metrics(client: MlflowClient, experiment: str) -> list[str]:
    """Wait until a run has metrics; return the experiment's id."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = client.get_experiment_by_name(experiment)
        if found and any("val/loss" in run.data.metrics for run in client.search_runs([found.experiment_id])):
            return [found.experiment_id]
        time.sleep(0.1)
    raise TimeoutError(experiment)


@pytest.mark.slow
def test_the_next_command_delivers_what_one_could_not(
    server: Server, proxy: Proxy, client: MlflowClient, tmp_path: Path
) -> None:
    words = ["data.rows=100000", f"tracking.uri={proxy.uri}", "tracking.wait=1", "tracking.experiment=kept"]
    process = command(tmp_path, *words, "chunksize=1000", "epochs=2000")
    try:
        ids = wait_for_metrics(client, "kept")
        proxy.cut()
        _, err = process.communicate(timeout=200)
    finally:
        process.kill()
        process.communicate()
    (kept,) = tmp_path.glob(".harness/outbox/*.jsonl")
    assert process.returncode == 1
    assert err == (
        f"harness: the tracking store {proxy.uri} is unreachable. Undelivered records are kept in {kept}; the next "
        "`harness train` with the same store and runtime.cache delivers them.\n"
    )
    proxy.restore()
    process = command(tmp_path, *words, "chunksize=full", "epochs=1")
    assert process.communicate(timeout=200)[1] == ""
    first, second = client.search_runs(ids, order_by=["attributes.start_time ASC"])
    assert [run.info.status for run in (first, second)] == ["FINISHED"] * 2
    assert [step for step, _ in history(client, first.info.run_id, "val/loss")] == list(range(1, 2001))
    assert [len(run.outputs.model_outputs) for run in (first, second)] == [1, 1]
    assert not (tmp_path / ".harness" / "outbox").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [30])
def test_a_sweep_survives_a_killed_server(server: Server, client: MlflowClient, tmp_path: Path, seconds: int) -> None:
    words = ["chunksize=full,1000", "learning_rate=0.01,0.1", "epochs=3,300", "data.rows=200000"]
    words += [f"tracking.uri={server.uri}", f"tracking.experiment=killed-{seconds}"]
    process = command(tmp_path, "-m", *words)
    try:
        ids = wait_for_metrics(client, f"killed-{seconds}")
        server.kill()
        time.sleep(seconds)
        server.start()
        out, err = process.communicate(timeout=200)
    finally:
        process.kill()
        process.communicate()
    said = out.splitlines()
    assert (process.returncode, err) == (0, "")
    summary, *runs = client.search_runs(ids, order_by=["attributes.start_time ASC"])
    assert summary.data.tags["kind"] == "sweep"
    assert len(runs) == 8
    assert {run.info.status for run in (summary, *runs)} == {"FINISHED"}
    for run in runs:
        epochs = int(run.data.params["epochs"])
        for key in ("train/loss", "val/loss", "updates", "time/train_s"):
            assert [point.step for point in client.get_metric_history(run.info.run_id, key)] == list(
                range(1, epochs + 1)
            )
    gone = [line for line in said if "is unreachable" in line]
    assert len(gone) == 1
    assert said.count(BACK) == 1
    assert not (tmp_path / ".harness" / "outbox").exists()
