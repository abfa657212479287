"""Workers on a Ray cluster: detached actors, which train one task after another and outlive the driver."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.launchers import RayConfig
from harness.errors import ConfigError, require
from harness.formatting import count
from harness.runtime.imports import silent_stderr
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.files import TRY_AGAIN, Job, TaskFiles
from harness.sweep.tasks.ray_task import IDLE_SECONDS, RayTasks, stop_file

MISSING = "hydra/launcher=ray needs Ray. Install it with: pip install 'harness[ray]'"

MOST_PENDING = 16
"""Maximum number of actors beyond the size of the cluster; pending actors make an autoscaling cluster add a node."""

MOST_FAILURES = 3
"""Number of consecutive actors that may fail to start."""

CONNECT_SECONDS = 10.0
"""How long a machine in the cluster may take to accept a connection."""

_NAMESPACE = "harness"
_OF_THE_NODE = ("RAY_", "SLURM_", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")  # Variables that a worker keeps.
# Ray prints the failures of all workers to the driver's output, where the driver itself explains those of its tasks.
_SILENT = {"RAY_DEDUP_LOGS_SKIP_REGEX": ".?", "RAY_BACKEND_LOG_LEVEL": "fatal"}


@dataclass(eq=False)
class Worker:
    """An actor.

    Attributes:
        name: Its name on the cluster.
        call: The pending call, which returns when the actor has started or its task has ended.
        task: The task that it trains.
        log: The file with that task's output.
        exits: Number of earlier workers of that task that have failed.
        is_own: Whether this driver has started it.
        idle_since: When it last became idle; 0 while it starts or trains.
    """

    name: str
    actor: Any
    call: Any
    task: TaskFiles | None = None
    log: str = ""
    exits: int = 0
    is_own: bool = True
    idle_since: float = 0.0


class Ray(Cluster):
    """A Ray cluster to which this machine belongs."""

    name, is_remote, seconds = "Ray", True, 2.0

    def __init__(self, config: RayConfig, options: Sequence[str] = ()) -> None:
        """Connect with the launcher's configuration; pass options to `harness work`.

        Raises:
            ConfigError: Ray is not installed, there is no such cluster, or its nodes are too small.
        """
        self.tasks, self.scratch, self._config, self._options = config.tasks, config.scratch, config, list(options)
        self._ray = _connect(config.address)
        self._workers: list[Worker] = []
        self._known: set[str] = set()  # Names of all actors so far.
        self._failed_starts: list[str] = []
        cpus = config.cpus_per_task
        require(  # While an autoscaling cluster has no node with cores, actors wait for one.
            max(self._cores_of_nodes(), default=cpus) >= cpus,
            f"hydra.launcher.cpus_per_task: no node in the Ray cluster has {count(cpus, 'core')}.",
        )

    def size(self) -> int:
        """Return how many tasks the nodes have room for, regardless of what is running on them now."""
        return max(sum(int(cores // self._config.cpus_per_task) for cores in self._cores_of_nodes()), 1)

    def cores(self, tasks: int) -> int:
        """Return the number of cores of each worker."""
        return self._config.cpus_per_task

    def submit(self, tasks: Sequence[TaskFiles], logs: Path) -> Iterator[tuple[TaskFiles, Job]]:
        """Give tasks to idle actors; for the others, start actors, which later calls will find idle.

        Raises:
            ConfigError: Actors cannot be started.
        """
        logs.mkdir(parents=True, exist_ok=True)
        waiting = list(tasks)
        for worker in [worker for worker in self._workers if worker.idle_since][: len(waiting)]:
            yield self._give(worker, waiting.pop(0), logs)
        failed = self._failed_starts[MOST_FAILURES - 1 :]
        require(
            not failed or any(worker.task for worker in self._workers),
            f"Ray: {MOST_FAILURES} workers in a row have failed to start ({failed[-1] if failed else ''}).",
        )
        starting = sum(not (worker.task or worker.idle_since) for worker in self._workers)
        room = self.size() + MOST_PENDING - len(self._workers)
        for _ in range(0 if failed else min(len(waiting) - starting, room)):
            self._start()

    def alive(self, jobs: Mapping[int, Job]) -> dict[int, str]:
        """Return the state of running jobs; all are "unknown" while Ray does not respond."""
        try:
            self._look()
            names = set(self._ray.util.list_named_actors())
        except Exception:  # Ray raises many kinds of errors.
            return dict.fromkeys(jobs, "unknown")
        found = {}
        for number, job in jobs.items():
            is_known = any(worker.task and worker.task.number == number for worker in self._workers)
            if is_known or (job.id in names - self._known and self._follow(job)):
                found[number] = "running"
        return found

    def stop(self, jobs: Mapping[int, Job], *, kill: bool = False) -> None:
        """Ask workers to stop, through a file next to their logs, or kill them."""
        for job in jobs.values():
            if kill:
                self._kill(job.id)
            else:
                stop_file(job.log).touch()

    def close(self) -> None:
        """End the actors that have no task."""
        for worker in self._workers:
            if not worker.task:
                self._kill(worker.name)

    def _start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_NODE)}
        environment["HARNESS_CORES"] = str(self._config.cpus_per_task)
        name = f"harness-{uuid.uuid4().hex[:12]}"
        cores = self._config.cpus_per_task
        made = self._ray.remote(RayTasks).options(name=name, lifetime="detached", num_cpus=cores, max_restarts=0)
        actor = made.remote(environment)
        self._add(Worker(name, actor, actor.__ray_ready__.remote()))

    def _add(self, worker: Worker) -> None:
        self._workers.append(worker)
        self._known.add(worker.name)

    def _give(self, worker: Worker, task: TaskFiles, logs: Path) -> tuple[TaskFiles, Job]:
        log = str(logs.absolute() / f"ray-{task.number}-{worker.name.rpartition('-')[2]}.log")
        worker.task, worker.log, worker.exits, worker.idle_since = task, log, len(task.exits()), 0.0
        order = str(task.order.absolute())
        worker.call = worker.actor.train.remote(order, log, self._options)
        return task, Job(worker.name, log, order)

    def _look(self) -> None:
        """Note which actors have started, ended their task, or died, and end those that have been idle for too long."""
        calls = {worker.call: worker for worker in self._workers if not worker.idle_since}
        ended, _ = self._ray.wait([*calls], num_returns=len(calls), timeout=0) if calls else ([], [])
        for call in ended:
            worker = calls[call]
            try:
                self._ray.get(call)
            except self._ray.exceptions.RayError as error:
                self._workers.remove(worker)
                self._explain(worker, " ".join(line for line in str(error).splitlines() if not line.startswith("\t")))
                continue
            worker.task, worker.idle_since = None, time.monotonic()
            if worker.is_own:
                self._failed_starts.clear()
        for worker in [*self._workers]:
            idle = time.monotonic() - worker.idle_since if worker.idle_since else 0.0
            # The environment and the code of an earlier driver may differ from this one's.
            if idle > IDLE_SECONDS / 2 or (worker.idle_since and not worker.is_own):
                self._workers.remove(worker)
                self._kill(worker.name)

    def _follow(self, job: Job) -> bool:
        """Watch an actor that trains a task of an earlier driver; return False if the task is no longer there."""
        if not Path(job.order).is_file():  # It may have been moved.
            return True
        with suppress(ValueError):  # It has just ended.
            actor = self._ray.get_actor(job.id)
            # An actor does one thing after another.
            ended = actor.__ray_ready__.remote()
            # This driver forgets earlier exits.
            self._add(Worker(job.id, actor, ended, TaskFiles(Path(job.order)), job.log, is_own=False))
            return True
        return False

    def _explain(self, worker: Worker, said: str) -> None:
        """Note why an actor has died; write it to its task's log if the worker could not do so itself."""
        has_lost_node = "node has died" in said or "node was terminated" in said
        if not worker.task:
            self._failed_starts += [] if has_lost_node else [said]
        elif len(worker.task.exits()) <= worker.exits and not worker.task.result():
            with Path(worker.log).open("a", encoding="utf-8") as file:
                file.write(f"harness: Ray: {said}\n")
            if has_lost_node:
                worker.task.note_exit(TRY_AGAIN)

    def _kill(self, name: str) -> None:
        with suppress(ValueError, self._ray.exceptions.RayError):  # It has ended.
            self._ray.kill(self._ray.get_actor(name))

    def _cores_of_nodes(self) -> list[float]:
        nodes = [node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"]]
        return [cores for cores in nodes if cores > 0]


def _reach(address: str) -> None:
    """Raise `OSError` if nothing listens at an address; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _connect(address: str | None) -> Any:
    """Return the module `ray` once it is connected to a cluster."""
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)  # Read when Ray is imported.
    try:
        ray = importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise ConfigError(MISSING) from error
    if ray.is_initialized():
        return ray
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _reach(address or os.environ.get("RAY_ADDRESS", ""))
        with silent_stderr():  # It logs what it finds out about the network.
            ray.init(
                address=address or "auto",
                namespace=_NAMESPACE,
                log_to_driver=False,
                logging_level="CRITICAL",
                configure_logging=False,
            )
    except Exception as error:
        said = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"hydra/launcher=ray: cannot connect to the Ray cluster {address or ''}".rstrip() + f" ({said})."
        ) from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray's own handler would exit with another code.
    return ray
