"""Claims on runs, which last as long as the process that made them."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.sweep import run_locks as module
from harness.sweep.run_locks import RunLocks, only_one

PROGRAM = (
    "import sys, time\nfrom harness.sweep.run_locks import RunLocks\nlocks = RunLocks(sys.argv[1])\n"
    "print(locks.take(sys.argv[2:]), flush=True)\ntime.sleep(60)\n"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(module.tempfile, "tempdir", None)


@pytest.fixture(params=["file", "server"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db" if request.param == "file" else "http://localhost:5000"


def test_a_claim_excludes_others_until_it_is_dropped(uri: str) -> None:
    with RunLocks(uri) as one, RunLocks(uri) as other, RunLocks(f"{uri}1") as apart:
        assert one.take(["a", "b"]) == {"a", "b"}
        assert other.take(["b", "c"]) == {"c"}
        assert other.others() == {"a", "b"}
        assert one.others() == {"c"}
        assert apart.take(["a", "c"]) == {"a", "c"}
        assert one.take(["d"]) == {"d"}
        one.drop(["a", "d"])
        assert other.take(["a", "b", "d"]) == {"a", "d"}
    with RunLocks(uri) as later:
        assert later.others() == set()


def test_a_kept_claim_outlives_a_drop(uri: str) -> None:
    with RunLocks(uri) as one, RunLocks(uri) as other:
        one.keep("summary")
        one.drop()
        assert other.others() == {"summary"}


def test_a_killed_process_has_no_claims(uri: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, uri, "a"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "{'a'}\n"
        with RunLocks(uri) as mine:
            assert mine.take(["a", "b"]) == {"b"}
            process.kill()
            process.wait()
            assert mine.others() == set()
            assert mine.take(["a"]) == {"a"}
    finally:
        process.kill()
        process.communicate()


def test_a_database_has_one_set_of_claims_under_any_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with RunLocks(f"sqlite:///{tmp_path}/real/a.db") as one, RunLocks(f"sqlite:///{tmp_path}/link/a.db") as other:
        one.take(["a"])
        assert other.others() == {"a"}
    assert [path.name for path in (tmp_path / "real").rglob("a.db/*")] == ["lock"]


def test_a_server_has_one_set_of_claims_for_all_its_users() -> None:
    with RunLocks("https://ann:secret@host/ml?token=1") as one, RunLocks("https://host/ml") as other:
        one.take(["a"])
        assert other.others() == {"a"}


def test_only_one_lets_in_one_process_and_reports_waiting() -> None:
    said, order = [], []

    def second() -> None:
        with only_one("gpu-0", said.append):
            order.append("second")

    with only_one("gpu-0", said.append):
        thread = threading.Thread(target=second)
        thread.start()
        while not said:
            thread.join(0.01)
        order.append("first")
    thread.join()
    assert said == ["waiting: another process is using gpu-0"]
    assert order == ["first", "second"]
