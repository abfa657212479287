"""`Objective`: everything that depends on the loss: outputs, targets, weights, metrics and the exported model.

`harness.training.losses` creates the objective of a run. The names and directions of metrics are in
`harness.config.metrics`, which does not need TensorFlow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from harness.data.scaler import Scaler
from harness.data.statistics import Column

Accumulators = tuple[tf.Tensor, ...]
"""Sums over the holdout from which an objective's metrics are computed."""


class Holdout(NamedTuple):
    """One slice of the holdout.

    Attributes:
        targets: float32 `[rows, targets]`.
        outputs: float32 `[tile, rows, outputs]`.
        inside: False for padding, `[rows]`.
    """

    targets: tf.Tensor
    outputs: tf.Tensor
    inside: tf.Tensor
    scaler: Scaler


@dataclass(frozen=True)
class Objective(ABC):
    """The loss to minimize, and the metrics to compute.

    Attributes:
        loss: Returns losses `[..., rows]` for targets `[..., rows, targets]` and outputs `[..., rows, outputs]`.
        targets: The table's targets.
        is_weighted: Whether `y`, the targets of a block, ends with a column of row weights.
        class_weights: The weight of each label; empty if all are equal.
        is_squared_error: Whether `loss` is squared error.
    """

    loss: Callable[[Any, Any], Any]
    targets: tuple[Column, ...]
    is_weighted: bool = False
    class_weights: tuple[float, ...] = ()
    is_squared_error: bool = False

    @property
    def outputs(self) -> int:
        """Number of units in the model's last layer."""
        return len(self.targets)

    @property
    def output_names(self) -> list[str]:
        """A name for each output, used in the exported model and in the metrics of a linear model's weights."""
        return [target.name for target in self.targets]

    @property
    def has_weights(self) -> bool:
        """Whether rows have weights, either their own or those of their classes."""
        return self.is_weighted or bool(self.class_weights)

    @property
    def has_gram(self) -> bool:
        """Whether a linear model's updates can be computed from the Gram matrices of its chunks."""
        return self.is_squared_error and self.outputs == 1 and not self.has_weights

    @property
    def counts_classes(self) -> bool:
        """Whether there is a confusion matrix."""
        return False

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names of what `measure` returns."""

    def row_losses(self, y: Any, outputs: Any) -> Any:
        """Return losses `[..., rows]`, multiplied by row weights, for `y` `[..., rows, columns]` and the outputs."""
        losses, weights = self.loss(self.truth(y), outputs), self.row_weights(y)
        return losses if weights is None else losses * weights

    def truth(self, y: Any) -> Any:
        """Return the targets in `y`, `[..., rows, targets]`."""
        return y[..., : len(self.targets)] if self.is_weighted else y

    def row_weights(self, y: Any) -> Any:
        """Return the rows' weights, `[..., rows]`, with a mean of 1 over the training rows; None if all are 1."""
        weights = y[..., -1] if self.is_weighted else None
        if self.class_weights:
            of_class = tf.gather(tf.constant(self.class_weights, tf.float32), tf.cast(y[..., 0], tf.int32))
            weights = of_class if weights is None else of_class * weights
        return weights

    def check_targets(self, name: str, values: np.ndarray) -> None:  # noqa: B027
        """Raise `ConfigError` if `values` of the target column `name` are not valid targets."""

    @abstractmethod
    def start(self, tile: int) -> Accumulators:
        """Return empty accumulators: scalars, or arrays.

        An array has the same number of values for each of the `tile` lanes, in order.
        """

    @abstractmethod
    def add(self, sums: Accumulators, holdout: Holdout) -> Accumulators:
        """Return the accumulators with a slice added; row weights are ignored."""

    @abstractmethod
    def measure(self, sums: Sequence[np.ndarray], rows: float, lane: int) -> dict[str, float]:
        """Return a lane's metrics over `rows` rows; they may be infinite or NaN."""

    def confusion(self, sums: Sequence[np.ndarray], lane: int) -> np.ndarray | None:
        """Return a lane's number of rows by class (rows) and predicted class (columns), if there are classes."""
        return None

    @abstractmethod
    def predictions(self, outputs: Any, scaler: Scaler) -> Any:
        """Return the exported model's predictions, as Keras tensors `[rows, outputs]`."""
