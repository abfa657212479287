"""Sweeps trained by several processes on this machine equal those of one process, even if some are killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from harness.sweep.tasks.files import TaskFiles
from tests.sweep.test_kills import numbers, rows
from tests.warm import Warm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RUNS = 24
WORDS = [
    *("train", "-m", "data.rows=300000", "chunksize=full,1000,100", "learning_rate=0.003,0.01,0.03,0.1"),
    *("epochs=5,400", "data.test=0.1", "runtime.gram=false", "runtime.time_alone=false"),
]
WORKERS = ["hydra/launcher=workers", "hydra.launcher.tasks=2"]


@pytest.fixture(scope="module")
def expected(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple, float]:
    """The results of one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert warm.run(folder, *WORDS) == 0, (folder / "log").read_text()
    return numbers(folder, RUN)


RUN = "AND tags.run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'kind' AND value = 'run')"


@contextlib.contextmanager
def driving(
    folder: Path, words: Sequence[str], code: str = "", variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """Run a command, or `code` instead of it, in the background; it is killed at the end."""
    command = [sys.executable, *(["-c", code] if code else ["-P", "-m", "harness"]), *words]
    own = os.environ | (variables or {})
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True, env=own)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def driving_workers(folder: Path) -> Iterator[subprocess.Popen]:
    """Run the sweep in the background; whatever is left of it is killed at the end."""
    with driving(folder, [*WORDS, *WORKERS]) as process:
        try:
            yield process
        finally:
            for left in [process.pid, *workers(folder).values()]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)


def tasks(folder: Path) -> list[TaskFiles]:
    return [TaskFiles(path) for path in sorted(folder.glob(".harness/checkpoints/*-tasks/[0-9].json"))]


def workers(folder: Path) -> dict[int, int]:
    """Return the processes of the workers that are alive, by task."""
    found = {}
    for task in tasks(folder):
        pid = int(job.id.split()[0]) if (job := task.job()) else 0
        if pid and psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            found[task.number] = pid
    return found


def until(condition: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + 250
    while not condition():
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.02)


def train_until_both_pause(folder: Path) -> dict[int, int]:
    """Let both workers train for some epochs, then pause them; return their processes by task.

    The first one continues slowly until the other one trains, since it may hold the store's lock, which both need.
    """
    paused: dict[int, int] = {}

    def both() -> bool:
        for pid in paused.values():
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)
        for pid in paused.values():
            os.kill(pid, signal.SIGSTOP)
        for task in tasks(folder):
            if (status := task.status()) and status.epoch and (pid := workers(folder).get(task.number)):
                os.kill(pid, signal.SIGSTOP)
                paused[task.number] = pid
        time.sleep(0.1 if paused else 0)
        return len(paused) == 2

    until(both, folder)
    return paused


def check(folder: Path, expected: dict[tuple, float]) -> None:
    assert rows(folder, "SELECT status, count(*) FROM runs GROUP BY status") == [("FINISHED", RUNS + 1)]
    assert rows(folder, "SELECT count(DISTINCT value) FROM tags WHERE key = 'signature'") == [(RUNS + 1,)]
    assert numbers(folder, RUN) == expected
    assert rows(folder, "SELECT count(*) FROM logged_models") == [(1,)]
    assert list((folder / "mlartifacts").rglob("report.html"))
    assert not list(folder.glob(".harness/checkpoints/*"))
    assert not list(folder.glob(".harness/outbox/*.jsonl"))


def test_a_driver_and_a_worker_are_killed(warm: Warm, expected: dict[tuple, float], tmp_path: Path) -> None:
    with driving_workers(tmp_path) as driver:
        paused = train_until_both_pause(tmp_path)
        for pid in (driver.pid, paused[1]):
            os.kill(pid, signal.SIGKILL)
        os.kill(paused[2], signal.SIGCONT)
        assert warm.run(tmp_path, *WORDS, *WORKERS, seconds=400) == 0, (tmp_path / "log").read_text()
    check(tmp_path, expected)
    said = (tmp_path / "log").read_text()
    assert "waiting: " not in said
    logs = [path.read_text() for path in sorted(tmp_path.rglob("tasks/*.log"))]
    assert "resume: continuing from the checkpoint" in logs[-1] + logs[0]
    assert sum(log.count("device: ") for log in logs) == 3  # The other worker has continued.


def test_ctrl_c(warm: Warm, expected: dict[tuple, float], tmp_path: Path) -> None:
    with driving_workers(tmp_path) as driver:
        paused = train_until_both_pause(tmp_path)
        os.kill(driver.pid, signal.SIGINT)
        for pid in paused.values():
            os.kill(pid, signal.SIGCONT)
        assert driver.wait(timeout=120) == 130
        assert not workers(tmp_path)
    said = (tmp_path / "log").read_text()
    assert re.search(r"\nharness: interrupted\. Run the same command again to resume\.\n$", said)
    assert rows(tmp_path, "SELECT DISTINCT status FROM runs WHERE status != 'FINISHED'") == [("KILLED",)]
    assert warm.run(tmp_path, *WORDS, *WORKERS, seconds=400) == 0, (tmp_path / "log").read_text()
    check(tmp_path, expected)


def test_a_worker_is_killed(expected: dict[tuple, float], tmp_path: Path) -> None:
    with driving_workers(tmp_path) as driver:
        paused = train_until_both_pause(tmp_path)
        os.kill(paused[2], signal.SIGKILL)
        os.kill(paused[1], signal.SIGCONT)
        assert driver.wait(timeout=300) == 0, (tmp_path / "log").read_text()
    assert "task 2: killed by signal 9 (log: " in (tmp_path / "log").read_text()
    check(tmp_path, expected)
