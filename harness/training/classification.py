"""The objectives for labels: 0 or 1, and one of several classes."""

# TensorFlow's stubs do not know static shapes.
# pyright: reportArgumentType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.config.metrics import BINARY, TOP5_CLASSES, class_metrics
from harness.config.overrides import override
from harness.data.classes import class_names
from harness.data.scaler import Scaler
from harness.data.statistics import category_text
from harness.errors import require
from harness.formatting import listed
from harness.training.objective import Accumulators, Holdout, Objective

BINS = 4096
"""Number of probability bins in which rows are counted for the area under the ROC curve."""
MATRIX_CLASSES = 256
"""Maximum number of classes for a confusion matrix; with more classes, only the counts for the metrics are kept."""


class BinaryClassification(Objective):
    """Predicts labels 0 and 1; the model returns a logit, and the exported model the probability of 1.

    The accumulator counts rows by lane, label and probability bin, int32 `[tile * 2 * BINS]`.
    """

    @property
    def output_names(self) -> list[str]:
        """The label whose probability is predicted, if labels have names."""
        return class_names(self.targets[0])[1:] or super().output_names

    @property
    def counts_classes(self) -> bool:
        """Always True."""
        return True

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what `measure` returns."""
        return BINARY

    def check_targets(self, name: str, values: np.ndarray) -> None:
        """Reject everything but two labels, or 0 and 1."""
        if labels := self.targets[0].categories:
            shown = listed([*map(category_text, labels)], 5)
            require(
                len(labels) == 2,
                f"loss=binary_crossentropy needs two labels, but {name} has {len(labels)} ({shown}). "
                "Set loss=sparse_categorical_crossentropy.",
            )
            return
        others = values[(values != 0) & (values != 1)]
        require(
            not others.size,
            f"loss=binary_crossentropy needs labels 0 and 1, but {name} contains {others[:1].sum():g}. "
            f"If the column contains two labels, set {override('data.categorical', [name])}.",
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
        return (_count(counts, position, holdout.inside),)

    def measure(self, sums: Sequence[np.ndarray], rows: float, lane: int) -> dict[str, float]:
        """Return the metrics."""
        negatives, positives = sums[0].reshape(-1, 2, BINS)[lane].astype(float)
        accuracy = (negatives[: BINS // 2].sum() + positives[BINS // 2 :].sum()) / rows
        return dict(zip(self.metrics, (accuracy, area_under_roc(negatives, positives)), strict=True))

    def confusion(self, sums: Sequence[np.ndarray], lane: int) -> np.ndarray:
        """Return the confusion matrix at a probability of one half."""
        return sums[0].reshape(-1, 2, 2, BINS // 2)[lane].sum(axis=-1)

    def predictions(self, outputs: Any, scaler: Scaler) -> Any:
        """Turn logits into probabilities."""
        return keras.layers.Activation("sigmoid")(outputs)


class Classification(Objective):
    """Predicts one of several classes; the model returns logits, and the exported model probabilities.

    The first accumulator counts rows by lane, class and predicted class, int32 `[tile * classes * classes]`, or, with
    more than `MATRIX_CLASSES` classes, rows, predictions and correct predictions by lane and class, `[tile * 3 *
    classes]`. The second counts rows whose class has one of the five largest outputs, `[tile]`.
    """

    @property
    def outputs(self) -> int:
        """One output per class."""
        return len(self.targets[0].categories)

    @property
    def output_names(self) -> list[str]:
        """The classes."""
        return class_names(self.targets[0])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what `measure` returns."""
        return class_metrics(self.outputs)

    @property
    def counts_classes(self) -> bool:
        """True unless there are too many classes."""
        return self.outputs <= MATRIX_CLASSES

    def start(self, tile: int) -> Accumulators:
        """Return zeros."""
        width = self.outputs if self.counts_classes else 3
        return tf.zeros([tile * width * self.outputs], tf.int32), tf.zeros([tile], tf.int32)

    def add(self, sums: Accumulators, holdout: Holdout) -> Accumulators:
        """Add a slice."""
        counts, top5 = sums
        outputs, inside, classes = holdout.outputs, holdout.inside, self.outputs
        tile: Any = outputs.shape[0]
        lane = tf.range(tile)[:, None]
        label = tf.broadcast_to(tf.cast(holdout.targets[:, 0], tf.int32), outputs.shape[:2])
        predicted = tf.argmax(outputs, axis=-1, output_type=tf.int32)
        if self.counts_classes:
            counts = _count(counts, (lane * classes + label) * classes + predicted, inside)
        else:
            for kind, (position, counted) in enumerate(
                ((label, inside), (predicted, inside), (label, inside & (label == predicted)))
            ):
                counts = _count(counts, (lane * 3 + kind) * classes + position, counted)
        if classes >= TOP5_CLASSES:
            own = tf.gather(outputs, label, axis=-1, batch_dims=2)[..., None]
            is_among = tf.reduce_sum(tf.cast(outputs > own, tf.int32), axis=-1) < 5
            top5 += tf.reduce_sum(tf.cast(is_among & inside, tf.int32), axis=-1)
        return counts, top5

    def measure(self, sums: Sequence[np.ndarray], rows: float, lane: int) -> dict[str, float]:
        """Return the metrics; means over classes ignore classes without rows."""
        matrix = self.confusion(sums, lane)
        if matrix is None:
            actual, predicted, correct = sums[0].reshape(-1, 3, self.outputs)[lane].astype(float)
        else:
            actual, predicted, correct = (
                each.astype(float) for each in (matrix.sum(1), matrix.sum(0), matrix.diagonal())
            )
        recall = correct[actual > 0] / actual[actual > 0]
        seen = actual + predicted > 0
        f1 = 2 * correct[seen] / (actual + predicted)[seen]
        values = [correct.sum() / rows, recall.mean(), f1.mean(), sums[1][lane] / rows]
        return dict(zip(self.metrics, map(float, values), strict=False))

    def confusion(self, sums: Sequence[np.ndarray], lane: int) -> np.ndarray | None:
        """Return the confusion matrix, if it is kept."""
        return sums[0].reshape(-1, self.outputs, self.outputs)[lane] if self.counts_classes else None

    def predictions(self, outputs: Any, scaler: Scaler) -> Any:
        """Turn logits into probabilities."""
        return keras.layers.Softmax()(outputs)


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


def _count(counts: tf.Tensor, position: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
    """Add 1 to `counts` at `position`, `[tile, rows]`, where a row is `inside`, `[rows]` or `[tile, rows]`."""
    ones = tf.broadcast_to(tf.cast(inside, tf.int32), tf.shape(position))
    return counts + tf.math.unsorted_segment_sum(ones, position, counts.shape[0])
