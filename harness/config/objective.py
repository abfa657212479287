"""The schema of `loss` and `objective.*`: what is minimized, and the deciding metric."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from harness.config.limits import shown
from harness.errors import require


class Loss(Enum):
    """The per-row loss; a chunk's loss is the mean over its rows."""

    mse = "mse"
    mae = "mae"
    huber = "huber"
    binary_crossentropy = "binary_crossentropy"
    sparse_categorical_crossentropy = "sparse_categorical_crossentropy"

    @property
    def has_labels(self) -> bool:
        """Whether the target is a label, which is not scaled."""
        return self in (Loss.binary_crossentropy, Loss.sparse_categorical_crossentropy)


CLASSES_LOSS = Loss.sparse_categorical_crossentropy
"""The loss whose target is one of several classes."""


@dataclass
class ObjectiveConfig:
    """The loss's parameters and the metric used to rank runs.

    Attributes:
        metric: The metric that decides which run is better, such as `val/accuracy`. None means `val/loss`, or
            `train/loss` without a holdout. Does not affect a run's results.
        delta: The error above which `huber` is linear, in the units used for training (scaled by default).
        label_smoothing: Fraction of a label that the crossentropies spread evenly over all classes, in [0, 1).
    """

    metric: str | None = None
    delta: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        require(0 < self.delta < 3e38, f"objective.delta must be positive, not {shown(self.delta)}.")
        smoothing = 0 <= self.label_smoothing < 1
        require(smoothing, f"objective.label_smoothing must be in [0, 1), not {shown(self.label_smoothing)}.")

    def check(self, loss: Loss) -> None:
        """Reject parameters that belong to another loss.

        Raises:
            ConfigError: A parameter has no effect on `loss`.
        """
        usable = self.delta == 1 or loss is Loss.huber
        require(usable, f"objective.delta is a parameter of loss=huber, not of loss={loss.value}.")
        usable = self.label_smoothing == 0 or loss.has_labels
        require(usable, f"objective.label_smoothing is a parameter of the crossentropies, not of loss={loss.value}.")
