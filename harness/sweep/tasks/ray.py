"""Workers on a Ray cluster: a detached actor for each task, so that tasks outlive the driver."""

from __future__ import annotations

import importlib
import os
import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.config.launchers import RayConfig
from harness.errors import ConfigError, require
from harness.formatting import count
from harness.runtime.imports import silent_stderr
from harness.sweep.tasks.files import TRY_AGAIN, Job, TaskFiles
from harness.sweep.tasks.ray_task import RayTask, stop_file

MISSING = "hydra/launcher=ray needs Ray. Install it with: pip install 'harness[ray]'"

_NAMESPACE = "harness"
_OF_THE_NODE = ("RAY_", "SLURM_", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")  # Variables that a worker keeps.
# Ray prints the failures of all workers to the driver's output, where the driver itself explains those of its tasks.
_SILENT = {"RAY_DEDUP_LOGS_SKIP_REGEX": ".?", "RAY_BACKEND_LOG_LEVEL": "fatal"}


class Ray:
    """A Ray cluster to which this machine belongs."""

    name, is_remote, seconds = "Ray", True, 2.0

    def __init__(self, config: RayConfig, options: Sequence[str] = ()) -> None:
        """Take the launcher's keys, and options for `harness work`.

        Raises:
            ConfigError: Ray is not installed, there is no such cluster, or its nodes are too small.
        """
        self.tasks, self._config, self._options = config.tasks, config, options
        self._ray = _connect(config.address)
        self._started: dict[int, tuple[TaskFiles, int, Any]] = {}
        cpus = config.cpus_per_task
        require(  # While a cluster that grows on demand has no node with cores, actors wait for one.
            max(self._cores_of_nodes(), default=cpus) >= cpus,
            f"hydra.launcher.cpus_per_task: no node of the Ray cluster has {count(cpus, 'core')}.",
        )

    def size(self) -> int:
        """Return how many tasks the nodes have room for, regardless of what is running on them now."""
        return max(sum(int(cores // self._config.cpus_per_task) for cores in self._cores_of_nodes()), 1)

    def cores(self, tasks: int) -> int:
        """Return the number of cores of each worker."""
        return self._config.cpus_per_task

    def submit(self, tasks: Sequence[TaskFiles], logs: Path) -> Iterator[tuple[TaskFiles, Job]]:
        """Create an actor for each task; Ray starts it as soon as a node has room."""
        logs.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_NODE)}
        environment["HARNESS_CORES"] = str(self._config.cpus_per_task)
        for task in tasks:
            name = f"harness-{task.number}-{uuid.uuid4().hex[:12]}"
            log, order, exits = str(logs.absolute() / f"ray-{name}.log"), str(task.order.absolute()), len(task.exits())
            actor = self._ray.remote(RayTask).options(
                name=name, lifetime="detached", num_cpus=self._config.cpus_per_task, max_restarts=0
            )
            handle = actor.remote(order, log, list(self._options), environment)
            self._started[task.number] = task, exits, handle.__ray_ready__.remote()
            yield task, Job(name, log, order)

    def alive(self, jobs: Mapping[int, Job]) -> dict[int, str]:
        """Return the state of pending and running actors; all are "unknown" while Ray does not respond."""
        try:
            names = set(self._ray.util.list_named_actors())
        except Exception:  # Ray raises many kinds.
            return dict.fromkeys(jobs, "unknown")
        for number, job in jobs.items():
            if job.id not in names:
                self._explain(number, Path(job.log))
            elif number not in self._started and Path(job.order).is_file():  # It may have been moved.
                self._follow(number, job)
        return {number: _state(job) for number, job in jobs.items() if job.id in names}

    def stop(self, jobs: Mapping[int, Job], *, kill: bool = False) -> None:
        """Ask workers to stop through a file next to their logs; kill those that are pending, or all of them."""
        for job in jobs.values():
            if kill or _state(job) == "pending":
                with suppress(ValueError, self._ray.exceptions.RayError):  # It has ended.
                    self._ray.kill(self._ray.get_actor(job.id))
            else:
                stop_file(job.log).touch()

    def _cores_of_nodes(self) -> list[float]:
        nodes = [node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"]]
        return [cores for cores in nodes if cores > 0]

    def _follow(self, number: int, job: Job) -> None:
        """Let Ray report why an actor that an earlier driver started has died."""
        with suppress(Exception):  # Ray raises many kinds; the next check tries again.
            ready = self._ray.get_actor(job.id).__ray_ready__.remote()
            self._started[number] = TaskFiles(Path(job.order)), 0, ready  # This driver forgets earlier exits.

    def _explain(self, number: int, log: Path) -> None:
        """Write to its log why an actor has died if its worker could not do so itself."""
        task, exits, ready = self._started.pop(number, (None, 0, None))
        if not task or task.result() or len(task.exits()) > exits:
            return
        try:
            self._ray.get(ready, timeout=10)
        except Exception as error:
            said = " ".join(line for line in str(error).splitlines() if not line.startswith("\t"))
            with log.open("a", encoding="utf-8") as file:
                file.write(f"harness: Ray: {said}\n")
            if "node has died" in said or "node was terminated" in said:
                task.note_exit(TRY_AGAIN)


def _state(job: Job) -> str:
    return "running" if Path(job.log).exists() else "pending"


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
        with silent_stderr():  # It logs what it finds out about the network.
            ray.init(
                address=address or "auto",
                namespace=_NAMESPACE,
                log_to_driver=False,
                logging_level="CRITICAL",
                configure_logging=False,
            )
    except Exception as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"hydra/launcher=ray: cannot connect to the Ray cluster {address or ''}".rstrip() + f" ({said})."
        ) from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray's own would exit with another code.
    return ray
