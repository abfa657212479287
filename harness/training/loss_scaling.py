"""Dynamic loss scaling, separately for each lane: keeps the gradients of float16 layers in float16's range.

It does what `keras.optimizers.LossScaleOptimizer` does (Micikevicius et al., 2018), with selections instead of
branches, since lanes that are computed as one batch cannot take different branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

INITIAL, GROWTH_UPDATES = 2.0**15, 2000
"""The initial scale, and the number of consecutive updates with finite gradients after which it doubles."""

SMALLEST, LARGEST = 2.0**-100, 2.0**100
"""Bounds of the scale; float16's range is far smaller, so gradients beyond them would be infinite or zero anyway."""


def start(lanes: int) -> list[np.ndarray]:
    """Return the initial state of lanes, `[lanes]` each: the scale, and updates since it last changed."""
    return [np.full(lanes, INITIAL, np.float32), np.zeros(lanes, np.int32)]


def factor(state: Sequence[tf.Tensor], rows: int) -> Any:
    """Return the factor that turns a lane's loss, summed over `rows` rows, into its scaled mean."""
    return state[0] / rows


def select(
    state: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor], before: Sequence[Any], after: Sequence[Any]
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Skip a lane's update if one of its gradients is not finite.

    Args:
        state: The lane's scale and number of updates.
        gradients: Its gradients, unscaled.
        before: Its tensors before the update.
        after: The same tensors after the update.

    Returns:
        `after`, or `before` if the update is skipped, and the next state. If even the smallest scale does not help,
        updates are no longer skipped, so that the lane diverges.
    """
    scale, updates = state
    is_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in gradients])
    grows = updates >= GROWTH_UPDATES - 1
    grown = tf.where(grows, tf.minimum(2 * scale, LARGEST), scale)
    counted = tf.where(grows, 0, updates + 1)
    following = [
        tf.where(is_finite, grown, tf.maximum(scale / 2, SMALLEST)),
        tf.where(is_finite, counted, 0),
    ]
    is_taken = is_finite | (scale <= SMALLEST)
    return [tf.where(is_taken, new, old) for old, new in zip(before, after, strict=True)], following
