"""Plain training loops that the trainer must agree with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

Chunks = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
"""Returns one pass: chunks of features `[rows, features]` and targets `[rows]`."""


class Trained(NamedTuple):
    """Weights and mean loss after each epoch, and the loss before each update."""

    weights: list
    epoch_losses: list
    losses: list


def adam_in_numpy(chunks: Chunks, features: int, rates: Sequence[float], epochs: int, init: float = 0.1) -> Trained:
    """Train linear models, one per learning rate, with the squared error and Adam (Kingma and Ba, 2015), in float64.

    Weights are intercept and slopes, `[1 + features, rates]`; losses are `[rates]`.
    """
    weights = np.full((features + 1, len(rates)), init)
    first, second, step = np.zeros_like(weights), np.zeros_like(weights), 0
    result = Trained([], [], [])
    for _ in range(epochs):
        total = rows = 0.0
        for x, y in chunks():
            inputs = np.column_stack([np.ones(len(x)), x])
            errors = inputs @ weights - y[:, None]
            loss = np.mean(errors**2, axis=0)
            gradient = 2 * inputs.T @ errors / len(x)
            step += 1
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            rate = np.asarray(rates) * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            weights = weights - rate * first / (np.sqrt(second) + 1e-7)
            result.losses.append(loss)
            total, rows = total + loss * len(x), rows + len(x)
        result.weights.append(weights)
        result.epoch_losses.append(total / rows)
    return result


def eager_keras(
    chunks: Chunks, model: keras.Model, optimizer: keras.optimizers.Optimizer, loss: Callable, epochs: int
) -> Trained:
    """Train `model`, in its own type, with one eager gradient tape and one `apply` per chunk."""
    result, kind = Trained([], [], []), model.compute_dtype
    for _ in range(epochs):
        total = rows = 0.0
        for x, y in chunks():
            with tf.GradientTape() as tape:
                rows_loss = loss(tf.constant(y[:, None], kind), model(tf.constant(x, kind), training=True))
                mean = tf.reduce_mean(rows_loss)
                objective = tf.add_n([mean, *model.losses])
            gradients = tape.gradient(objective, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            result.losses.append(float(mean))
            total, rows = total + float(mean) * len(x), rows + len(x)
        result.weights.append([variable.numpy() for variable in model.trainable_variables])
        result.epoch_losses.append(total / rows)
    return result
