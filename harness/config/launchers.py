"""The keys of the launchers that train a sweep in several processes: `hydra.launcher.*`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.config.limits import require_whole


@dataclass
class WorkersConfig:
    """`hydra/launcher=workers`: processes of this machine.

    Attributes:
        tasks: Tasks to divide a sweep into, at most; None means one per core.
    """

    tasks: int | None = None

    def __post_init__(self) -> None:
        require_whole("hydra.launcher.tasks", self.tasks, 1, 10_000, optional=True)
