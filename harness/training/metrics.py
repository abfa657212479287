"""What the holdout says about all lanes of a stack, in one compiled pass an epoch."""

# The stubs that pyright has for TensorFlow know no static shapes.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportOptionalOperand=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalIterable=false
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from harness.config import Loss
from harness.data.blocks import SLICE_ROWS
from harness.data.scaler import Scaler
from harness.training.lanes import Stack, State
from harness.training.slices import Rows
from harness.training.xla import compiled

BINS = 4096
"""Intervals of probability in which positives and negatives are counted for the area under the ROC curve."""


class Sums(NamedTuple):
    """Sums over the rows seen so far; those of errors and targets in the target's own units, all in float64.

    Attributes:
        rows: `[]`.
        loss: In the trained space, `[tile]`.
        squared: Of errors, `[tile]`.
        absolute: Of errors, `[tile]`.
        target: Of targets less the training mean, `[]`.
        target_squared: Of the squares of those, `[]`.
        counts: Rows by lane, label and interval of probability, int32 `[tile * 2 * BINS]`; empty unless labels are
            predicted.
    """

    rows: tf.Tensor
    loss: tf.Tensor
    squared: tf.Tensor
    absolute: tf.Tensor
    target: tf.Tensor
    target_squared: tf.Tensor
    counts: tf.Tensor


class Evaluation:
    """The metrics of a stack's lanes on rows that none of them was trained on."""

    def __init__(self, stack: Stack, scaler: Scaler, tile: int) -> None:
        self._stack, self._tile = stack, tile
        self._labels = stack.recipe.loss is Loss.binary_crossentropy
        self._mean, self._std, self._log = float(scaler.mean[-1]), float(scaler.std[-1]), scaler.log_target
        self._compiled = compiled(self._add_block)

    def start(self) -> Sums:
        """Return the sums over no row."""
        zero, lanes = tf.zeros([], tf.float64), tf.zeros([self._tile], tf.float64)
        counts = tf.zeros([self._tile * 2 * BINS if self._labels else 0], tf.int32)
        return Sums(zero, lanes, lanes, lanes, zero, zero, counts)

    def add(self, sums: Sums, state: State, rows: Rows) -> Sums:
        """Return the sums with a block's rows added; the block's capacity is a whole number of slices."""
        return self._compiled(sums, state, rows.x, rows.y, tf.constant(rows.stop - rows.start))

    def metrics(self, sums: Sums) -> list[dict[str, float]]:
        """Return each lane's metrics; one that has no finite value is left out, and all are without a holdout."""
        if not sums.rows:
            return [{} for _ in range(self._tile)]
        rows, loss, squared, absolute, target, target_squared, counts = (value.numpy() for value in sums)
        metrics = []
        for lane in range(self._tile):
            values = {"val/loss": loss[lane] / rows}
            if self._labels:
                negatives, positives = counts.reshape(self._tile, 2, BINS)[lane].astype(float)
                values["val/accuracy"] = (negatives[: BINS // 2].sum() + positives[BINS // 2 :].sum()) / rows
                values["val/auc"] = area_under_roc(negatives, positives)
            else:
                values["val/rmse"] = math.sqrt(squared[lane] / rows)
                values["val/mae"] = absolute[lane] / rows
                variation = target_squared - target**2 / rows
                values["val/r2"] = 1 - squared[lane] / variation if variation > 0 else math.nan
            metrics.append({name: float(value) for name, value in values.items() if math.isfinite(value)})
        return metrics

    def _add_block(self, sums: Sums, state: State, x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor) -> Sums:
        def add_slice(start: tf.Tensor, sums: Sums) -> tuple[tf.Tensor, Sums]:
            inside = tf.range(SLICE_ROWS) < rows - start
            here = tf.cast(inside, tf.float64)
            targets = tf.slice(y, [start, 0], [SLICE_ROWS, 1])
            outputs = self._stack.predict(state, tf.slice(x, [start, 0], [SLICE_ROWS, x.shape[1]]))
            losses = tf.where(inside, self._stack.losses(targets, outputs), 0.0)
            truth = self._own_units(targets)[:, 0]
            errors = tf.where(inside, self._own_units(outputs)[..., 0] - truth, 0.0)
            centred = (truth - self._centre()) * here
            counts = sums.counts
            if self._labels:
                counts += self._count(targets[:, 0], outputs[..., 0], inside)
            return start + SLICE_ROWS, Sums(
                sums.rows + tf.reduce_sum(here),
                sums.loss + tf.cast(tf.reduce_sum(losses, axis=-1), tf.float64),
                sums.squared + tf.reduce_sum(errors**2, axis=-1),
                sums.absolute + tf.reduce_sum(tf.abs(errors), axis=-1),
                sums.target + tf.reduce_sum(centred),
                sums.target_squared + tf.reduce_sum(centred**2),
                counts,
            )

        return tf.while_loop(lambda start, _: start < rows, add_slice, (tf.constant(0), sums))[1]

    def _own_units(self, values: tf.Tensor) -> tf.Tensor:
        values = tf.cast(values, tf.float64) * self._std + self._mean
        return tf.exp(values) if self._log else values

    def _centre(self) -> float:
        return math.exp(self._mean) if self._log else self._mean

    def _count(self, labels: tf.Tensor, logits: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
        """Count one slice's rows by lane, label and interval of probability; NaN falls into the first."""
        probability = tf.sigmoid(logits)
        intervals = tf.clip_by_value(tf.cast(probability * BINS, tf.int32), 0, BINS - 1)
        lane = tf.range(self._tile)[:, None]
        place = (lane * 2 + tf.cast(labels > 0.5, tf.int32)) * BINS + intervals
        ones = tf.broadcast_to(tf.cast(inside, tf.int32), tf.shape(place))
        return tf.math.unsorted_segment_sum(ones, place, self._tile * 2 * BINS)


def area_under_roc(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Return the chance that a positive is given a higher probability than a negative (Mann and Whitney's U).

    Args:
        negatives: Rows in each interval of probability, `[intervals]`.
        positives: Likewise. Two rows in one interval count as a tie, one half.
    """
    pairs = negatives.sum() * positives.sum()
    if pairs == 0:
        return math.nan
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)
