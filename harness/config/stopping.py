"""When a run stops early, and which epoch's model it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from harness.config.limits import MOST_EPOCHS, require_number, require_whole
from harness.errors import require


class Restore(Enum):
    """The epoch whose weights become a run's model."""

    last = "last"
    best = "best"


@dataclass
class StoppingConfig:
    """When a run ends early. By default, runs never end early.

    Attributes:
        patience: Number of consecutive epochs without improvement after which the run ends; None means that it trains
            for all epochs.
        min_delta: The smallest change in the metric that counts as an improvement.
        metric: The metric to watch; None means the deciding metric.
        restore: `best` keeps the model of the epoch with the best metric, with or without `patience`; `last` keeps the
            model of the last epoch.
    """

    patience: int | None = None
    min_delta: float = 0.0
    metric: str | None = None
    restore: Restore = Restore.last

    def __post_init__(self) -> None:
        require_whole("stopping.patience", self.patience, 1, MOST_EPOCHS, optional=True)
        require_number("stopping.min_delta", self.min_delta, 0, 3e38)
        idle = self.min_delta > 0 and self.patience is None
        require(not idle, "stopping.min_delta has no effect without stopping.patience; set both.")
        idle = self.metric is not None and not self.is_on
        require(not idle, "stopping.metric has no effect without stopping.patience or stopping.restore=best.")

    @property
    def is_on(self) -> bool:
        """True if training depends on these settings."""
        return self.patience is not None or self.restore is Restore.best
