"""The plain loop over pandas chunks, eager and with a compiled step."""

# TensorFlow's stubs do not accept plain numbers.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
from __future__ import annotations

import time
from collections.abc import Callable

import keras
import tensorflow as tf

from experiments.benchmark.peers.reading import chunks
from experiments.benchmark.task import Fit, Outcome, Task, split_compilation


def eager(task: Task) -> Outcome:
    """Train without compilation."""
    return _train(task, lambda step: step)


def compiled(task: Task) -> Outcome:
    """Train with a step compiled by XLA."""
    return _train(task, lambda step: tf.function(step, jit_compile=True))


def _train(task: Task, wrap: Callable) -> Outcome:
    intercept, slope = tf.Variable(0.1), tf.Variable(0.1)
    optimizer = keras.optimizers.Adam(task.rates[0])
    optimizer.build([intercept, slope])

    def step(x: tf.Tensor, y: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((intercept + slope * x[:, 0] - y) ** 2)
        optimizer.apply(tape.gradient(loss, [intercept, slope]), [intercept, slope])

    step = wrap(step)
    epochs = []
    for _ in range(task.stops[-1]):
        start = time.perf_counter()
        for x, y in chunks(task):
            step(tf.constant(x), tf.constant(y))
        epochs.append(time.perf_counter() - start)
    compiling, laps = split_compilation(epochs)
    fit = Fit(task.chunks[0], task.rates[0], task.stops[-1], [float(intercept.numpy()), float(slope.numpy())])
    return Outcome(task.rows, laps, [fit], compiling)
