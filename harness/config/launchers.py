"""The keys of the launchers that train a sweep in several processes: `hydra.launcher.*`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from harness.config.limits import require_number, require_whole
from harness.errors import require


@dataclass
class WorkersConfig:
    """`hydra/launcher=workers`: processes on this machine.

    Attributes:
        tasks: Maximum number of tasks to divide a sweep into; None means one per core, but no more than are worthwhile.
    """

    tasks: int | None = None

    def __post_init__(self) -> None:
        require_whole("hydra.launcher.tasks", self.tasks, 1, 10_000, optional=True)


@dataclass
class SlurmConfig:
    """`hydra/launcher=slurm`: jobs on a Slurm cluster.

    Attributes:
        tasks: Maximum number of tasks to divide a sweep into; None means as many as fit on the partition's nodes, but
            no more than are worthwhile.
        partition: Partition to submit the jobs to; None means the cluster's default.
        timeout_min: Minutes after which a job is stopped, at least 5; its task then continues in a new one.
        cpus_per_task: Cores per job.
        mem_gb: Memory per job in GiB; None means the partition's default.
        array_parallelism: Maximum number of jobs that run at once.
        setup: Shell commands that each job runs first, such as `module load python`.
        scratch: Folder on each node's own disk, to which a worker copies the table if that saves time; None means
            never.
    """

    tasks: int | None = None
    partition: str | None = None
    timeout_min: int = 60
    cpus_per_task: int = 1
    mem_gb: float | None = None
    array_parallelism: int = 256
    setup: list[str] = field(default_factory=list)
    scratch: str | None = None

    def __post_init__(self) -> None:
        require_whole("hydra.launcher.tasks", self.tasks, 1, 100_000, optional=True)
        # Slurm may send its signal up to two minutes before the time limit, and a worker takes a while to start.
        require_whole("hydra.launcher.timeout_min", self.timeout_min, 5, 10**6)
        _require_absolute(self.scratch)
        for name, most in (("cpus_per_task", 1024), ("array_parallelism", 100_000)):
            require_whole(f"hydra.launcher.{name}", getattr(self, name), 1, most)
        if self.mem_gb is not None:
            require_number("hydra.launcher.mem_gb", self.mem_gb, 0.1, 1e5)


@dataclass
class RayConfig:
    """`hydra/launcher=ray`: actors on a Ray cluster.

    Attributes:
        tasks: Maximum number of tasks to divide a sweep into; None means as many as fit on the cluster's nodes, but no
            more than are worthwhile.
        address: Address of the cluster, such as `10.0.0.1:6379`; None means `RAY_ADDRESS`, or the cluster that was
            started on this machine.
        cpus_per_task: Cores per task.
        scratch: Folder on each node's own disk, to which a worker copies the table if that saves time; None means
            never.
    """

    tasks: int | None = None
    address: str | None = None
    cpus_per_task: int = 1
    scratch: str | None = None

    def __post_init__(self) -> None:
        require_whole("hydra.launcher.tasks", self.tasks, 1, 100_000, optional=True)
        require_whole("hydra.launcher.cpus_per_task", self.cpus_per_task, 1, 1024)
        _require_absolute(self.scratch)
        require(
            self.address is None or bool(re.fullmatch(r"auto|[^\s/]+:\d+", str(self.address))),
            f"hydra.launcher.address must be HOST:PORT, on a machine in the cluster. Received: {self.address}",
        )


def _require_absolute(scratch: str | None) -> None:
    wanted = "hydra.launcher.scratch must be the absolute path of a folder that exists on each node"
    require(scratch is None or str(scratch).startswith("/"), f"{wanted}. Received: {scratch}")
