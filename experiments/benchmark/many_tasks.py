"""Measures what a driver itself costs: a real driver, and a thousand tasks whose results are written without training.

The results are written by another process, directly to the server's database, so only the driver's requests count.
"""

import atexit
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from experiments.benchmark.servers import mlflow_server
from experiments.benchmark.timing import Part, span
from harness.cli.main import main
from harness.sweep.run_fields import run_params
from harness.sweep.tasks import cluster
from harness.sweep.tasks.cluster import Workers
from harness.sweep.tasks.files import Job, TaskFiles
from harness.sweep.tasks.order import configs_of, read_order
from harness.tracking.tracker import Tracker

TASKS = 1000
SECONDS = 900
DATABASE = "BENCHMARK_DATABASE"
"""The environment variable with the address of the server's database."""
METRICS = {"train/loss": 0.5, "val/loss": 0.5, "val/rmse": 0.7, "val/r2": 0.5, "updates": 20.0, "rows": 2000.0}
METRICS |= {"time/train_s": 0.1}


def driver_parts(say: Callable[[str], None]) -> dict[str, Part]:
    """Run a sweep of a thousand tasks, and return what its driver has cost."""
    say(f"a driver with {TASKS:,} simulated tasks")
    rates = ",".join(f"{1e-4 * 1.02**step:.8f}" for step in range(TASKS // 4))
    words = ["train", "-m", "data.rows=2000", "model=mlp", "chunksize=100", "epochs=1", f"learning_rate={rates}"]
    words += ["seed=0,1,2,3", "hydra/launcher=workers", f"hydra.launcher.tasks={TASKS}", "hydra.sweep.dir=sweep"]
    with TemporaryDirectory() as name:
        folder, store = Path(name), f"sqlite:///{name}/server.db"
        with mlflow_server(folder, {"MLFLOW_BACKEND_STORE_URI": store}) as address:
            command = [sys.executable, "-m", "experiments.benchmark.many_tasks", *words, f"tracking.uri={address}"]
            variables = os.environ | {DATABASE: store, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            options: dict[str, Any] = {"cwd": folder, "env": variables, "capture_output": True, "text": True}
            done = subprocess.run(command, timeout=SECONDS, check=False, **options)
    if done.returncode:
        raise RuntimeError(f"the driver exited with code {done.returncode}: {done.stderr[-500:]}")
    found = json.loads(done.stderr.rpartition("costs: ")[2])
    what = f"driver with {TASKS:,} simulated tasks"
    return {
        "driver/cpu": Part(f"{what}: CPU, whole command", span([found["cpu"]])),
        "driver/collecting": Part(f"{what}: CPU after the first task was submitted", span([found["collecting"]])),
        "driver/memory": Part(f"{what}: peak memory", span([found["peak_mb"]]), "MB"),
        "driver/requests": Part(f"{what}: requests per task", span([found["requests"] / TASKS]), "requests"),
        "driver/files": Part(f"{what}: files per task", span([found["files"] / TASKS]), "files"),
    }


class Simulated(Workers):
    """Workers that another process pretends to be; notes what the driver has cost by then."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        writer = [sys.executable, "-m", "experiments.benchmark.many_tasks", "--write"]
        self._writer = subprocess.Popen(writer, stdin=subprocess.PIPE, text=True)
        self._files, self._start = 0, 0.0
        atexit.register(self._report)

    def submit(self, tasks: Sequence[TaskFiles], logs: Path) -> Iterator[tuple[TaskFiles, Job]]:
        """Pass the tasks to that process."""
        self._start = self._start or time.process_time()
        assert self._writer.stdin
        for task in tasks:
            print(task.order.absolute(), file=self._writer.stdin, flush=True)
            yield task, Job(str(task.number), str(logs / f"{task.number}.log"), str(task.order.absolute()))

    def alive(self, jobs: Mapping[int, Job]) -> dict[int, str]:
        """Return the tasks whose results have not been written."""
        if jobs:
            self._files = sum(1 for _ in os.scandir(Path(next(iter(jobs.values())).order).parent))
        return {n: "running" for n, job in jobs.items() if not Path(job.order).with_suffix(".result").exists()}

    def _report(self) -> None:
        self._writer.terminate()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        costs = {"cpu": usage.ru_utime + usage.ru_stime, "collecting": time.process_time() - self._start}
        costs |= {"peak_mb": usage.ru_maxrss / 1000, "requests": len(_sent), "files": self._files}
        print(f"costs: {json.dumps(costs)}", file=sys.stderr, flush=True)


_sent: list[str] = []


def drive() -> None:
    """Run the command with simulated workers."""
    send = requests.Session.send

    def count(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        _sent.append(str(request.url))
        return send(session, request, **options)

    requests.Session.send = count  # type: ignore[method-assign]
    cluster.Workers = Simulated  # type: ignore[misc]
    main()


def write() -> None:
    """Record the runs of the tasks named on standard input as if they had been trained, and write their results."""
    tracker = None
    for line in sys.stdin:
        path = Path(line.strip())
        order = read_order(path)
        assert order.membership
        sweep, configs = order.membership.sweep_id, configs_of(order)
        tracker = tracker or Tracker(os.environ[DATABASE], configs[0].tracking.experiment or "harness")
        runs = list(zip(order.runs, configs, strict=True))
        tags = {"kind": "run", "sweep": sweep, "sample": "batch"}
        ids = tracker.start_runs(
            [(run.name, run_params(config), tags | {"signature": run.signature}) for run, config in runs]
        )
        facts = {}
        for run_id, run in zip(ids, order.runs, strict=True):
            tracker.log(run_id, METRICS, 1)
            tracker.end_run(run_id, "FINISHED")
            state = {"run_id": run_id, "sweeps": [sweep], "status": "FINISHED", "reason": "", "cost": 0.5}
            nothing = {"stopped_at": None, "pruned_at": None, "has_model": False, "best": {}, "test": {}}
            facts[run.signature] = {**state, **nothing, "last": METRICS}
        tracker.flush()
        TaskFiles(path).write_result({"runs": facts, "kept": {}, "seconds": {}, "best": None}, {})


if __name__ == "__main__":
    write() if sys.argv[1:] == ["--write"] else drive()
