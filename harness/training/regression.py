"""The objective for numeric targets."""

# TensorFlow's stubs do not know static shapes.
# pyright: reportArgumentType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.config.metrics import regression_metrics
from harness.data.scaler import Scaler
from harness.training.objective import Accumulators, Holdout, Objective

_PER_TARGET = 4
LEAST_VARIATION = 1e-12
"""Minimum variance, relative to the squared distance from the training mean; smaller variances are rounding errors."""


class Regression(Objective):
    """Predicts one or more numbers; the loss is their mean, and the metrics are in each target's own units.

    The accumulators of each target are sums of squared and absolute errors `[tile]`, and of centered targets and their
    squares `[]`.
    """

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what `measure` returns."""
        return regression_metrics([target.name for target in self.targets])

    def start(self, tile: int) -> Accumulators:
        """Return zeros."""
        zero, lanes = tf.zeros([], tf.float64), tf.zeros([tile], tf.float64)
        return (lanes, lanes, zero, zero) * len(self.targets)

    def add(self, sums: Accumulators, holdout: Holdout) -> Accumulators:
        """Add a slice."""
        added: list[tf.Tensor] = []
        for target in range(len(self.targets)):
            added += _add(sums[target * _PER_TARGET : (target + 1) * _PER_TARGET], holdout, target)
        return tuple(added)

    def measure(self, sums: Sequence[np.ndarray], rows: float, lane: int) -> dict[str, float]:
        """Return the metrics."""
        values: list[float] = []
        for target in range(len(self.targets)):
            squared, absolute, truth, truth_squared = sums[target * _PER_TARGET : (target + 1) * _PER_TARGET]
            variation = truth_squared - truth**2 / rows
            r2 = 1 - squared[lane] / variation if variation > LEAST_VARIATION * truth_squared else math.nan
            values += [math.sqrt(squared[lane] / rows), absolute[lane] / rows, r2]
        if len(self.targets) > 1:
            values.append(float(np.mean(values[2::3])))
        return dict(zip(self.metrics, values, strict=True))

    def predictions(self, outputs: Any, scaler: Scaler) -> Any:
        """Undo scaling and logarithm."""
        mean, std, offset = map(np.array, (scaler.target_mean, scaler.target_std, scaler.target_offset))
        outputs = keras.layers.Rescaling(*(_plain(values) for values in (std, mean - offset)))(outputs)
        if offset.any():
            outputs = keras.ops.add(keras.ops.cast(outputs, "float64"), offset[None])
        logs = np.array([scaler.log_targets])
        if logs.all():
            return keras.ops.exp(outputs)
        if logs.any():
            return keras.ops.where(logs, keras.ops.exp(keras.ops.where(logs, outputs, 0.0)), outputs)
        return outputs


def _add(sums: Sequence[tf.Tensor], holdout: Holdout, target: int) -> tuple[tf.Tensor, ...]:
    squared, absolute, truths, truths_squared = sums
    scaler, mean = holdout.scaler, holdout.scaler.target_mean[target]
    truth = _own_units(holdout.targets, scaler, target)[:, target]
    errors = tf.where(holdout.inside, _own_units(holdout.outputs, scaler, target)[..., target] - truth, 0.0)
    # Centered, because otherwise the variance would be a small difference between large sums.
    center = math.exp(mean) if scaler.log_targets[target] else mean
    centred = (truth - center) * tf.cast(holdout.inside, tf.float64)
    return (
        squared + tf.reduce_sum(errors**2, axis=-1),
        absolute + tf.reduce_sum(tf.abs(errors), axis=-1),
        truths + tf.reduce_sum(centred),
        truths_squared + tf.reduce_sum(centred**2),
    )


def _own_units(values: tf.Tensor, scaler: Scaler, target: int) -> tf.Tensor:
    """Convert all columns of `values` to the units of one target; only that target's column is meaningful."""
    values = tf.cast(values, tf.float64) * scaler.target_std[target] + scaler.target_mean[target]
    return tf.exp(values) if scaler.log_targets[target] else values


def _plain(values: np.ndarray) -> Any:
    """Return a single value as a number and several as a list, as Keras stores them."""
    return values.tolist() if len(values) > 1 else float(values[0])
