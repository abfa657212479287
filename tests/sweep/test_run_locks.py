"""Who has claimed what: processes that are alive are seen, and those that are gone are not."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.sweep import run_locks as module
from harness.sweep.run_locks import RunLocks, only_one

PROGRAM = (
    "import sys, time\nfrom harness.sweep.run_locks import RunLocks\nclaims = RunLocks(sys.argv[1])\n"
    "print(claims.take(sys.argv[2:]), flush=True)\ntime.sleep(60)\n"
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(module.tempfile, "tempdir", None)


def test_what_one_has_no_other_gets_until_it_is_dropped() -> None:
    with RunLocks("store") as one, RunLocks("store") as other, RunLocks("another store") as apart:
        assert one.take(["a", "b"]) == {"a", "b"}
        assert other.take(["b", "c"]) == {"c"}
        assert other.others() == {"a", "b"}
        assert one.others() == {"c"}
        assert apart.take(["a", "c"]) == {"a", "c"}
        assert one.take(["d"]) == {"d"}
        one.drop(["a", "d"])
        assert other.take(["a", "b", "d"]) == {"a", "d"}
    with RunLocks("store") as later:
        assert later.others() == set()


def test_a_process_that_is_killed_has_no_claims() -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "store", "a"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "{'a'}\n"
        with RunLocks("store") as mine:
            assert mine.take(["a", "b"]) == {"b"}
            process.kill()
            process.wait()
            assert mine.others() == set()
            assert mine.take(["a"]) == {"a"}
    finally:
        process.kill()
        process.communicate()


def test_one_at_a_time_and_the_other_says_that_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 0.01)
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
    assert said == ["waiting: another process uses gpu-0"]
    assert order == ["first", "second"]
