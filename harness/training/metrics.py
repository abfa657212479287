"""The holdout's metrics for all lanes of a stack, in one compiled pass per epoch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from harness.data.scaler import Scaler
from harness.training.lanes import LaneState, Stack
from harness.training.objective import Holdout
from harness.training.slices import DeviceBlock, take_rows


class Sums(NamedTuple):
    """Sums over the rows so far, in float64.

    Attributes:
        rows: `[]`.
        weight: Total weight of all rows, `[]`; zero if the rows have no weights.
        loss: Total loss in the units used for training, `[tile]`.
        objective: The objective's accumulators.
    """

    rows: tf.Tensor
    weight: tf.Tensor
    loss: tf.Tensor
    objective: tuple[tf.Tensor, ...]


class Evaluation:
    """The metrics of a stack's lanes on the holdout."""

    def __init__(self, stack: Stack, scaler: Scaler, tile: int) -> None:
        self._stack, self._scaler, self._tile = stack, scaler, tile
        self._compiled = stack.strategy.compile(self._add_block)

    def start(self) -> Sums:
        """Return empty sums."""
        objective = self._stack.objective.start(self._tile)
        zero = tf.zeros([], tf.float64)
        return Sums(zero, zero, tf.zeros([self._tile], tf.float64), objective)

    def add(self, sums: Sums, state: LaneState, block: DeviceBlock) -> Sums:
        """Return the sums with a block added; the block's capacity is a whole number of slices."""
        return self._compiled(sums, state, block.x, block.y, tf.constant(block.stop - block.start))

    def metrics(self, sums: Sums) -> list[dict[str, float]]:
        """Return each lane's finite metrics, or none if there is no holdout."""
        if not sums.rows:
            return [{} for _ in range(self._tile)]
        rows, weight, loss, objective = tf.nest.map_structure(lambda value: value.numpy(), sums)
        metrics = []
        for lane in range(self._tile):
            is_weighted = self._stack.objective.has_weights
            mean = loss[lane] / rows if not is_weighted else loss[lane] / weight if weight else math.nan
            values = {"val/loss": mean, **self._stack.objective.measure(objective, rows, lane)}
            metrics.append({name: float(value) for name, value in values.items() if math.isfinite(value)})
        return metrics

    def confusion(self, sums: Sums, lane: int) -> np.ndarray | None:
        """Return a lane's confusion matrix, `[classes, classes]`; None without a holdout or classes."""
        if not sums.rows:
            return None
        return self._stack.objective.confusion([value.numpy() for value in sums.objective], lane)

    def _add_block(self, sums: Sums, state: LaneState, x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor) -> Sums:
        length = self._stack.strategy.evaluated_rows

        def add_slice(start: tf.Tensor, sums: Sums) -> tuple[tf.Tensor, Sums]:
            inside = tf.range(length) < rows - start
            objective = self._stack.objective
            targets = take_rows(y, start, length)
            weights = objective.row_weights(targets)
            outputs = self._stack.predict(state, take_rows(x, start, length))
            losses = tf.where(inside, self._stack.losses(targets, outputs), 0.0)
            return start + length, Sums(
                sums.rows + tf.reduce_sum(tf.cast(inside, tf.float64)),
                sums.weight if weights is None else sums.weight + _sum(tf.where(inside, weights, 0.0)),
                sums.loss + tf.cast(tf.reduce_sum(losses, axis=-1), tf.float64),
                objective.add(sums.objective, Holdout(objective.truth(targets), outputs, inside, self._scaler)),
            )

        return tf.while_loop(lambda start, _: start < rows, add_slice, (tf.constant(0), sums), parallel_iterations=1)[1]


def _sum(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(values, tf.float64))
