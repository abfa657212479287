"""On a real Slurm cluster, preempting or killing jobs, or losing their nodes, does not change a sweep's results."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests import servers, slurm
from tests.sweep import test_workers
from tests.sweep.test_kills import numbers, rows
from tests.sweep.test_workers import RUN, RUNS, WORDS, tasks
from tests.warm import Warm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not()),
]

KINDS = "JOIN tags USING (run_uuid) WHERE key = 'kind' AND value IN ('run', 'sweep')"
OTHER_CODE = """
from harness.sweep.tasks import order
order.code_digest = lambda: "other code"
from harness.cli.main import main
main()
"""
SECONDS = 600
"""Maximum total time that the test waits."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Slurm]:
    with slurm.running() as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.running(tmp_path_factory.mktemp("server")) as made:
        yield made


@contextlib.contextmanager
def driving(folder: Path, cluster: slurm.Slurm, words: list[str], code: str = "") -> Iterator[subprocess.Popen]:
    with test_workers.driving(folder, words, code, cluster.environment) as process:
        try:
            yield process
        finally:
            cluster.run("scancel", "--me")


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
    log, deadline = tmp_path / "log", time.monotonic() + SECONDS

    def until(condition: Callable[[], bool]) -> None:
        while not condition():
            assert time.monotonic() < deadline, log.read_text()
            assert driver.poll() is None, log.read_text()
            time.sleep(0.2)

    def training() -> dict[str, Path]:
        """Return the task files of tasks that compile or train, by node; they have a checkpoint."""
        nodes, found = cluster.nodes(), {}
        for task in tasks(tmp_path):
            job, status = task.job(), task.status()
            if job and job.id in nodes and status and status.epochs and worker_of(task.order):
                found[nodes[job.id]] = task.order
        return found

    def kill_worker() -> bool:
        for order in training().values():
            if worker := worker_of(order):
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
                    worker.wait(timeout=60)
                    return True
        return False

    with driving(tmp_path, cluster, words) as driver:
        # Any node that is training may be disturbed, since none trains for long.
        until(kill_worker)
        until(lambda: bool(training()))
        node, order = next(iter(training().items()))
        cluster.run("sbatch", "--partition=urgent", f"--nodelist={node}", "--output=/dev/null", "--wrap=true")
        until(lambda: training().get(node) != order)
        until(lambda: bool(training()))
        node = next(iter(training()))
        cluster.lose_node(node)
        cluster.start_node(node)
        assert driver.wait(timeout=max(deadline - time.monotonic(), 60)) == 0, log.read_text()
    store = server.folder
    assert rows(store, f"SELECT status, count(*) FROM runs {KINDS} GROUP BY status") == [("FINISHED", RUNS + 1)]
    assert rows(store, "SELECT count(DISTINCT value) FROM tags WHERE key = 'signature'") == [(RUNS + 1,)]
    assert numbers(store, RUN) == numbers(alone, RUN)
    assert "killed by signal 9 (log: " in log.read_text()
    assert not list(tmp_path.glob(".harness/checkpoints/*"))


def test_workers_with_other_code_are_not_tried_again(
    cluster: slurm.Slurm, server: servers.Server, tmp_path: Path
) -> None:
    words = ["train", "-m", "model=mlp", "chunksize=full,100", "tracking.experiment=other", "hydra/launcher=slurm"]
    words += ["hydra.launcher.tasks=2", f"tracking.uri={server.uri}"]
    with driving(tmp_path, cluster, words, OTHER_CODE) as driver:
        code = driver.wait(timeout=120)
    said = (tmp_path / "log").read_text()
    assert code == 2, said
    why = "task 1: the harness's code here differs from the driver's"
    assert re.search(rf"\nharness: {why} .*\(log: {tmp_path}/.*/slurm-[0-9_]+\.log\)\.\n$", said), said
    assert said.count("; it is not started again\n") == 2
    of_experiment = "experiment_id = (SELECT experiment_id FROM experiments WHERE name = 'other')"
    found = rows(server.folder, f"SELECT status, count(*) FROM runs {KINDS} AND {of_experiment} GROUP BY status")
    assert found == [("FAILED", 3)]
