"""A sweep on a real Slurm cluster: jobs are preempted, killed and lost with their nodes, and no number changes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests import servers, slurm
from tests.sweep.test_kills import numbers, rows
from tests.sweep.test_workers import RUN, RUNS, WORDS, tasks
from tests.warm import Warm

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not())]


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Slurm]:
    with slurm.running() as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.running(tmp_path_factory.mktemp("server")) as made:
        yield made


def until(condition: Callable[[], bool], log: Path, seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


@contextlib.contextmanager
def driving(folder: Path, cluster: slurm.Slurm, words: list[str]) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-P", "-m", "harness", *words]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True, env=os.environ | cluster.environment
        )
    try:
        yield process
    finally:
        cluster.run("scancel", "--me")
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def worker_of(order: Path) -> psutil.Process | None:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(order) in words and "work" in words:
            return process
    return None


def test_preemption_kills_and_a_lost_node(
    warm: Warm, cluster: slurm.Slurm, server: servers.Server, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    assert warm.run(alone, *WORDS) == 0, (alone / "log").read_text()
    words = [*WORDS, "hydra/launcher=slurm", "hydra.launcher.tasks=3", f"tracking.uri={server.uri}"]
    log = tmp_path / "log"

    def training() -> dict[str, Path]:
        """Return the orders of tasks that train, by node."""
        nodes, found = cluster.nodes(), {}
        for task in tasks(tmp_path):
            job, status = task.job(), task.status()
            if job and job.id in nodes and status and status.epoch and worker_of(task.order):
                found[nodes[job.id]] = task.order
        return found

    with driving(tmp_path, cluster, words) as driver:
        until(lambda: "n1" in training(), log)
        killed = worker_of(training()["n1"])
        assert killed
        killed.send_signal(signal.SIGKILL)
        until(lambda: not killed.is_running(), log)
        until(lambda: "n2" in training(), log)
        cluster.run("sbatch", "--partition=urgent", "--nodelist=n2", "--output=/dev/null", "--wrap=true")
        until(lambda: "n2" not in training(), log)
        until(lambda: "n1" in training(), log)
        cluster.lose_node("n1")
        cluster.start_node("n1")
        assert driver.wait(timeout=600) == 0, log.read_text()
    store = server.folder
    assert rows(store, "SELECT status, count(*) FROM runs GROUP BY status") == [("FINISHED", RUNS + 1)]
    assert rows(store, "SELECT count(DISTINCT value) FROM tags WHERE key = 'signature'") == [(RUNS + 1,)]
    assert numbers(store, RUN) == numbers(alone, RUN)
    assert "killed by signal 9 (log: " in log.read_text()
    assert not list(tmp_path.glob(".harness/checkpoints/*"))
