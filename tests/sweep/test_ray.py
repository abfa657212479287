"""On a real Ray cluster, killing workers, their driver and a node does not change a sweep's results."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests import ray_cluster, servers
from tests.sweep.test_kills import numbers, rows
from tests.sweep.test_workers import RUN, RUNS, WORDS, driving, tasks
from tests.warm import Warm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(ray_cluster.why_not()), reason=ray_cluster.why_not()),
]

RAY = ["hydra/launcher=ray", f"hydra.launcher.address={ray_cluster.ADDRESS}", "hydra.launcher.tasks=3"]
PARSE_ELSEWHERE = """
from harness.sweep.tasks import preparation
preparation.PARSED_HERE = 1
from harness.cli.main import main
main()
"""
SECONDS = 500
"""Maximum total time that the test waits."""


@pytest.fixture(scope="module")
def cluster(warm: Warm) -> Iterator[ray_cluster.RayCluster]:
    """Two nodes in a network of their own; all that is started there ends with it, so `warm` is started before."""
    with ray_cluster.running() as made:
        yield made


def test_a_worker_finds_a_bad_row_before_any_task_starts(cluster: ray_cluster.RayCluster, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("x,y\n" + "1,2\n3,4\n" * 50_000 + "5,six\n")
    data = ["data=csv", "data.path=some.csv", "data.features=[x]", "data.target=y"]
    words = ["train", "-m", *data, "chunksize=full,100", "learning_rate=0.1", "epochs=1", *RAY]
    with servers.running(tmp_path) as server:
        command = [sys.executable, "-c", PARSE_ELSEWHERE, *words, f"tracking.uri={server.uri}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 2, done.stderr
    assert "1 table on Ray" in done.stdout
    said = f"harness: {tmp_path}/some.csv, line 100002: y is 'six', not a number. If y is a label, set "
    assert done.stderr.splitlines()[-1].startswith(said)
    assert not list(tmp_path.glob(".harness/prepare/*"))


def test_kills_and_a_lost_node(warm: Warm, cluster: ray_cluster.RayCluster, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    assert warm.run(alone, *WORDS) == 0, (alone / "log").read_text()
    log, deadline = tmp_path / "log", time.monotonic() + SECONDS

    def until(condition: Callable[[], object]) -> None:
        while not condition():
            assert time.monotonic() < deadline, log.read_text()
            assert driver.poll() is None, log.read_text()
            time.sleep(0.1)

    def training() -> dict[str, psutil.Process]:
        """Return the workers of tasks that compile or train, by the names of their actors."""
        jobs = {job.id for task in tasks(tmp_path) if (job := task.job()) and (s := task.status()) and s.epochs}
        return {name: worker for name, (worker, _) in cluster.workers().items() if name in jobs}

    with servers.running(tmp_path) as server:
        words = [*WORDS, *RAY, f"tracking.uri={server.uri}"]
        with driving(tmp_path, words) as driver:
            until(training)
            os.kill(driver.pid, signal.SIGTERM)
            assert driver.wait(timeout=60) == 143, log.read_text()
            assert not training()
            assert rows(tmp_path, "SELECT DISTINCT status FROM runs WHERE status != 'FINISHED'") == [("KILLED",)]
        with driving(tmp_path, words) as driver:
            until(training)
            (name, victim), *_ = training().items()
            victim.kill()
            until(lambda: "; starting it again" in log.read_text())
            until(lambda: name not in training() and len(training()) == 2)
            lost = cluster.lose_node()
        left = {str(task.number) for task in tasks(tmp_path) if (job := task.job()) and job.id not in lost}
        with driving(tmp_path, words) as driver:  # The previous one was killed.
            assert driver.wait(timeout=SECONDS) == 0, log.read_text()
    kinds = "JOIN tags USING (run_uuid) WHERE key = 'kind' AND value IN ('run', 'sweep')"
    assert rows(tmp_path, f"SELECT status, count(*) FROM runs {kinds} GROUP BY status") == [("FINISHED", RUNS + 1)]
    assert rows(tmp_path, "SELECT count(DISTINCT value) FROM tags WHERE key = 'signature'") == [(RUNS + 1,)]
    assert numbers(tmp_path, RUN) == numbers(alone, RUN)
    assert "its worker process has died" in log.read_text()
    assert not list(tmp_path.glob(".harness/checkpoints/*"))
    logs = sorted(tmp_path.glob("multirun/*/*"))[-1].glob("tasks/*.log")
    assert not {path.name.split("-")[1] for path in logs} & left
