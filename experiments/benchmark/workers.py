"""Measures sweeps with several workers: the gain of a second one, the cost of a kill, requests, and the driver's cost.

`make bench BENCH="--only workers"` measures only these.
"""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from experiments.benchmark.goals import Goal
from experiments.benchmark.many_tasks import driver_parts
from experiments.benchmark.servers import mlflow_server
from experiments.benchmark.timing import Part, span

RUNS, ROWS, EPOCHS = 64, 200_000, 8
SECONDS = 900
KILL_AFTER = 15.0  # Seconds after a worker's start, when it is training.
SWEEP = [
    *(
        "train",
        "-m",
        f"data.rows={ROWS}",
        "model=mlp",
        "chunksize=1000",
        f"epochs={EPOCHS}",
        "runtime.time_alone=false",
    ),
    "learning_rate=" + ",".join(f"{1e-4 * 1.5**step:.6f}" for step in range(RUNS // 4)),
    "seed=0,1,2,3",
]
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
    """Train the same sweep with one worker, with two, and with one that is killed; then one on a server."""
    own = sorted(os.sched_getaffinity(0))
    parts, others = {}, 0.0
    with TemporaryDirectory() as folder:
        for tasks, kill in ((1, False), (2, False), (1, True)) if len(own) > 1 else ():
            say(f"{RUNS} runs with {tasks} of the workers{', which is killed' if kill else ''}")
            before = _busy_seconds() - _own_seconds()
            # A worker gets its share of the driver's cores.
            trained, whole = _with_workers(Path(folder), tasks, own[:tasks], kill=kill)
            others = max(others, (_busy_seconds() - _own_seconds() - before) / whole)
            key = f"workers/{tasks}{'/killed' if kill else ''}"
            what = f"{RUNS} MLP runs, {tasks} worker{'s' * (tasks > 1)} of one core{', killed once' * kill}"
            if not kill:
                parts[f"{key}/train"] = Part(f"{what}: training", span([trained]))
            parts[key] = Part(f"{what}: whole command", span([whole]))
        if "workers/1/killed" in parts:
            lost = parts["workers/1/killed"].value.mid - parts["workers/1"].value.mid
            parts["workers/lost"] = Part("seconds lost by a kill", span([lost]))
            parts["workers/others"] = Part("cores used by other processes, at most", span([others]), "cores")
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


def _with_workers(folder: Path, tasks: int, own: Sequence[int], *, kill: bool) -> tuple[float, float]:
    """Return the seconds of the longest scan, and those of the command."""
    store, log = folder / f"{tasks}-{kill}.db", folder / "log"
    words = [*SWEEP, "hydra/launcher=workers", f"hydra.launcher.tasks={tasks}", f"tracking.uri=sqlite:///{store}"]
    with log.open("wb") as output, _on_cores(own):
        started = time.monotonic()
        command = [sys.executable, "-P", "-m", "harness", *words]
        driver = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        while kill and driver.poll() is None:
            time.sleep(0.2)
            trains = any("training: epoch " in path.read_text() for path in folder.rglob("tasks/1.log"))
            workers = [child for child in psutil.Process(driver.pid).children() if "work" in child.cmdline()]
            if trains and workers and time.time() - workers[0].create_time() > KILL_AFTER:
                workers[0].kill()
                break
        if driver.wait(timeout=SECONDS):
            raise RuntimeError(f"the sweep exited with code {driver.returncode}: {log.read_text()[-500:]}")
    finally:
        driver.kill()
    whole = time.monotonic() - started
    with contextlib.closing(sqlite3.connect(store)) as connection:
        ((trained,),) = connection.execute(LONGEST)
    return trained, whole


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
