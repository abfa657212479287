"""Objectives: what each loss implies for targets, metrics and the exported model. To add a loss, extend `OBJECTIVES`.

The names and directions of metrics are in `harness.config.metrics`, which does not need TensorFlow.
"""

# TensorFlow's stubs do not know static shapes.
# pyright: reportArgumentType=false
from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from harness.config import Loss
from harness.config.metrics import BINARY, REGRESSION
from harness.data.scaler import Scaler
from harness.errors import require

BINS = 4096
"""Number of probability bins in which rows are counted for the area under the ROC curve."""

Accumulators = tuple[tf.Tensor, ...]
"""Sums over the holdout from which an objective's metrics are computed."""


class Holdout(NamedTuple):
    """One slice of the holdout.

    Attributes:
        targets: float32 `[rows, 1]`.
        outputs: float32 `[tile, rows, outputs]`.
        inside: False for padding, `[rows]`.
    """

    targets: tf.Tensor
    outputs: tf.Tensor
    inside: tf.Tensor
    scaler: Scaler


@dataclass(frozen=True)
class Objective(ABC):
    """What is minimized, and what else is measured.

    Attributes:
        row_losses: Returns losses `[..., rows]` for targets `[..., rows, 1]` and outputs `[..., rows, outputs]`.
        is_squared_error: Whether the loss is squared error, in which case Gram matrices determine the updates.
        outputs: Number of units in the model's last layer.
        has_labels: Whether targets are labels, which are checked but not scaled.
        metrics: Names of what `measure` returns.
    """

    row_losses: Callable[[Any, Any], Any]
    is_squared_error: bool = False
    outputs: int = 1
    has_labels: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]]

    def check_targets(self, name: str, values: np.ndarray) -> None:  # noqa: B027
        """Raise `ConfigError` if `values` of the target column `name` are not valid targets."""

    @abstractmethod
    def start(self, tile: int) -> Accumulators:
        """Return empty accumulators for `tile` lanes."""

    @abstractmethod
    def add(self, sums: Accumulators, holdout: Holdout) -> Accumulators:
        """Return the accumulators with a slice added."""

    @abstractmethod
    def measure(self, sums: Sequence[np.ndarray], rows: float, lane: int) -> dict[str, float]:
        """Return a lane's metrics over `rows` rows; they may be infinite or NaN."""

    @abstractmethod
    def predictions(self, outputs: Any, scaler: Scaler) -> Any:
        """Return the exported model's predictions, as Keras tensors."""


class Regression(Objective):
    """Predicts a number; the metrics are in the target's own units.

    The accumulators are sums of squared and absolute errors `[tile]`, and of centred targets and their squares `[]`.
    """

    metrics = REGRESSION

    def start(self, tile: int) -> Accumulators:
        """Return zeros."""
        zero, lanes = tf.zeros([], tf.float64), tf.zeros([tile], tf.float64)
        return lanes, lanes, zero, zero

    def add(self, sums: Accumulators, holdout: Holdout) -> Accumulators:
        """Add a slice."""
        squared, absolute, target, target_squared = sums
        scaler, mean = holdout.scaler, holdout.scaler.target_mean
        truth = _own_units(holdout.targets, scaler)[:, 0]
        errors = tf.where(holdout.inside, _own_units(holdout.outputs, scaler)[..., 0] - truth, 0.0)
        # Centred, because the variance would otherwise be a small difference of large sums.
        centred = (truth - (math.exp(mean) if scaler.log_target else mean)) * tf.cast(holdout.inside, tf.float64)
        return (
            squared + tf.reduce_sum(errors**2, axis=-1),
            absolute + tf.reduce_sum(tf.abs(errors), axis=-1),
            target + tf.reduce_sum(centred),
            target_squared + tf.reduce_sum(centred**2),
        )

    def measure(self, sums: Sequence[np.ndarray], rows: float, lane: int) -> dict[str, float]:
        """Return the metrics."""
        squared, absolute, target, target_squared = sums
        variation = target_squared - target**2 / rows
        r2 = 1 - squared[lane] / variation if variation > 0 else math.nan
        return dict(zip(self.metrics, (math.sqrt(squared[lane] / rows), absolute[lane] / rows, r2), strict=True))

    def predictions(self, outputs: Any, scaler: Scaler) -> Any:
        """Undo scaling and logarithm."""
        offset = scaler.target_offset
        outputs = keras.layers.Rescaling(scaler.target_std, scaler.target_mean - offset)(outputs)
        if offset:
            outputs = keras.ops.add(keras.ops.cast(outputs, "float64"), np.array([[offset]]))
        return keras.ops.exp(outputs) if scaler.log_target else outputs


class BinaryClassification(Objective):
    """Predicts labels 0 and 1; the model's output is a logit, the exported model's the probability of 1.

    The accumulator counts rows by lane, label and probability bin, int32 `[tile * 2 * BINS]`.
    """

    has_labels = True
    metrics = BINARY

    def check_targets(self, name: str, values: np.ndarray) -> None:
        """Reject everything but 0 and 1."""
        others = values[(values != 0) & (values != 1)]
        require(
            not others.size, f"loss=binary_crossentropy needs labels 0 and 1, but {name} contains {others[:1].sum():g}."
        )

    def start(self, tile: int) -> Accumulators:
        """Return zeros."""
        return (tf.zeros([tile * 2 * BINS], tf.int32),)

    def add(self, sums: Accumulators, holdout: Holdout) -> Accumulators:
        """Add a slice."""
        (counts,) = sums
        tile: Any = holdout.outputs.shape[0]
        probability = tf.sigmoid(holdout.outputs[..., 0])
        # NaN counts as probability 0.
        intervals = tf.clip_by_value(tf.cast(probability * BINS, tf.int32), 0, BINS - 1)
        lane = tf.range(tile)[:, None]
        position = (lane * 2 + tf.cast(holdout.targets[:, 0] > 0.5, tf.int32)) * BINS + intervals
        ones = tf.broadcast_to(tf.cast(holdout.inside, tf.int32), tf.shape(position))
        return (counts + tf.math.unsorted_segment_sum(ones, position, tile * 2 * BINS),)

    def measure(self, sums: Sequence[np.ndarray], rows: float, lane: int) -> dict[str, float]:
        """Return the metrics."""
        negatives, positives = sums[0].reshape(-1, 2, BINS)[lane].astype(float)
        accuracy = (negatives[: BINS // 2].sum() + positives[BINS // 2 :].sum()) / rows
        return dict(zip(self.metrics, (accuracy, area_under_roc(negatives, positives)), strict=True))

    def predictions(self, outputs: Any, scaler: Scaler) -> Any:
        """Turn logits into probabilities."""
        return keras.layers.Activation("sigmoid")(outputs)


OBJECTIVES: Mapping[Loss, Objective] = {
    Loss.mse: Regression(keras.losses.mean_squared_error, is_squared_error=True),
    Loss.mae: Regression(keras.losses.mean_absolute_error),
    Loss.huber: Regression(keras.losses.huber),
    Loss.binary_crossentropy: BinaryClassification(
        functools.partial(keras.losses.binary_crossentropy, from_logits=True)
    ),
}


def area_under_roc(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Return the probability that a positive row is ranked above a negative one (Mann-Whitney U).

    Args:
        negatives: Negative rows in each probability bin, `[bins]`.
        positives: Positive rows in each bin. A pair of rows in the same bin counts as one half.
    """
    pairs = negatives.sum() * positives.sum()
    if pairs == 0:
        return math.nan
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)


def _own_units(values: tf.Tensor, scaler: Scaler) -> tf.Tensor:
    values = tf.cast(values, tf.float64) * scaler.target_std + scaler.target_mean
    return tf.exp(values) if scaler.log_target else values
