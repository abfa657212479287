"""Measures sweeps with several workers: the gain of a second one, requests, and the driver's cost.

`make bench BENCH="--only workers"` measures only these.
"""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

from experiments.benchmark.goals import Goal
from experiments.benchmark.many_tasks import driver_parts
from experiments.benchmark.servers import mlflow_server
from experiments.benchmark.timing import Part, span
from harness.sweep.tasks.files import TaskFiles

RUNS, ROWS, EPOCHS = 64, 200_000, 8
SECONDS = 900
SMALL = ["train", "-m", "chunksize=full,1000,100", "learning_rate=0.003,0.01,0.03,0.1", "epochs=5,20"]
SMALL_RUNS = 24
# The summary run has the sum over all workers.
LONGEST = """
SELECT max(metrics.value) FROM metrics JOIN tags USING (run_uuid)
WHERE metrics.key = 'time/train_s' AND tags.key = 'kind' AND tags.value = 'run'
"""
COUNT = """
import requests, sys
from harness.cli.main import main
send, calls = requests.Session.send, []
def count(*arguments, **options):
    calls.append(1)
    return send(*arguments, **options)
requests.Session.send = count
try:
    main()
finally:
    print(f"requests: {len(calls)}", file=sys.stderr)
"""


def worker_parts(say: Callable[[str], None]) -> dict[str, Part]:
    """Train the same sweep with one worker and with two; then one on a server, and one with simulated workers."""
    own = sorted(os.sched_getaffinity(0))
    parts, others = {}, 0.0
    with TemporaryDirectory() as folder:
        for tasks in (1, 2) if len(own) > 1 else ():
            say(f"{RUNS} runs with {tasks} of the workers")
            before = _busy_seconds() - _own_seconds()
            # A worker gets its share of the driver's cores.
            trained = train_with_workers(Path(folder), mlps(RUNS, EPOCHS), tasks, own[:tasks])
            others = max(others, (_busy_seconds() - _own_seconds() - before) / trained.whole)
            what = f"{RUNS} MLP runs, {tasks} worker{'s' * (tasks > 1)} of one core"
            parts[f"workers/{tasks}/train"] = Part(f"{what}: training", span([trained.longest]))
            parts[f"workers/{tasks}"] = Part(f"{what}: whole command", span([trained.whole]))
        if parts:
            parts["workers/others"] = Part("cores used by other processes meanwhile, at most", span([others]), "cores")
        say(f"{SMALL_RUNS} runs on a server, counting requests")
        parts["workers/requests"] = Part("requests to a server per run", span([_requests(Path(folder))]), "requests")
    return parts | driver_parts(say)


def worker_goals(parts: Mapping[str, Part]) -> list[Goal]:
    """Return the goal of a second worker."""
    one, two = (parts.get(f"workers/{tasks}/train") for tasks in (1, 2))
    ratio = one.value.mid / two.value.mid if one and two else None
    return [
        Goal(f"sweep of {RUNS} MLPs, two workers of one core, speed-up over one, not counting start-up", 1.8, ratio)
    ]


def mlps(runs: int, epochs: int) -> list[str]:
    """Return the words that train this many MLPs, a multiple of 4."""
    words = ["train", "-m", f"data.rows={ROWS}", "model=mlp", "chunksize=1000", f"epochs={epochs}"]
    rates = ",".join(f"{1e-4 * 1.5**step:.6f}" for step in range(runs // 4))
    return [*words, "runtime.time_alone=false", f"learning_rate={rates}", "seed=0,1,2,3"]


class Trained(NamedTuple):
    """The seconds of the longest scan and of the command, and the share of the training done when a worker was killed.

    The share is 0 if none was killed.
    """

    longest: float
    whole: float
    killed_at: float


def train_with_workers(
    folder: Path, words: Sequence[str], tasks: int, own: Sequence[int], kill_at: float | None = None
) -> Trained:
    """Train a sweep on these cores, with a store of its own; kill the first worker after a share of its training.

    Raises:
        RuntimeError: The sweep fails, or ends before the worker is killed.
    """
    store, log, killed_at = folder / f"{time.monotonic_ns()}.db", folder / "log", 0.0
    words = [*words, "hydra/launcher=workers", f"hydra.launcher.tasks={tasks}", f"tracking.uri=sqlite:///{store}"]
    with log.open("wb") as output, _on_cores(own):
        started = time.monotonic()
        command = [sys.executable, "-P", "-m", "harness", *words]
        driver = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        while kill_at and not killed_at and driver.poll() is None:
            time.sleep(0.1)
            for order in folder.glob(".harness/checkpoints/*-tasks/1.json"):
                job, status = TaskFiles(order).job(), TaskFiles(order).status()
                if job and status and status.rows >= kill_at * status.total > 0:
                    os.kill(int(job.id.split()[0]), signal.SIGKILL)
                    killed_at = status.rows / status.total
        if driver.wait(timeout=SECONDS) or (kill_at and "killed by signal 9" not in log.read_text()):
            raise RuntimeError(f"the sweep exited with code {driver.returncode}: {log.read_text()[-500:]}")
    finally:
        driver.kill()
    whole = time.monotonic() - started
    with contextlib.closing(sqlite3.connect(store)) as connection:
        ((longest,),) = connection.execute(LONGEST)
    return Trained(longest, whole, killed_at)


def _busy_seconds() -> float:
    """Return the CPU time of all processes of this machine so far."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def _own_seconds() -> float:
    """Return the CPU time of this process and of its descendants that have ended."""
    return sum(os.times()[:4])


def _requests(folder: Path) -> float:
    with mlflow_server(folder, {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/server.db"}) as address:
        words = [sys.executable, "-c", COUNT, *SMALL, f"tracking.uri={address}"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"the sweep exited with code {done.returncode}: {done.stderr[-500:]}")
    return int(done.stderr.rpartition("requests: ")[2]) / SMALL_RUNS


@contextlib.contextmanager
def _on_cores(own: Sequence[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, own)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
