"""Keras: the plain loop over pandas chunks, the same loop with a compiled step, and `fit` on data in memory."""

# The stubs of TensorFlow and Keras are stricter than the libraries.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
import itertools
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from experiments.benchmark.peers.reading import chunks, read
from experiments.benchmark.task import Fit, Outcome, Task
from harness.models import linear, mlp


def eager(task: Task) -> Outcome:
    """Train chunk by chunk without compilation."""
    return _loop(task, lambda step: step)


def compiled(task: Task) -> Outcome:
    """Train chunk by chunk with a step compiled by XLA."""
    return _loop(task, lambda step: tf.function(step, jit_compile=True))


def fit(task: Task) -> Outcome:
    """Read everything, then fit, 64 steps per execution: the fastest way to feed Keras."""
    start = time.perf_counter()
    x, y = (np.ascontiguousarray(part) for part in np.split(read(task), [-1], axis=1))
    reading = time.perf_counter() - start
    size, steps = task.size(task.chunks[0]), min(64, task.updates(task.chunks[0]))
    keras.utils.set_random_seed(0)
    model = mlp(x.shape[1], units=task.units) if task.units else linear(1)
    model.compile(keras.optimizers.Adam(task.rates[0]), "mse", jit_compile=True, steps_per_execution=steps)
    times: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: times.append(time.perf_counter()))
    history = model.fit(x, y, size, epochs=task.stops[-1], shuffle=False, verbose=0, callbacks=[clock])
    times.append(time.perf_counter())
    weights = [] if task.units else [float(array.item()) for array in reversed(model.get_weights())]
    return _outcome(task, times, weights, reading, history.history["loss"][-1])


def _loop(task: Task, wrap: Callable) -> Outcome:
    intercept, slope = tf.Variable(0.1), tf.Variable(0.1)
    optimizer = keras.optimizers.Adam(task.rates[0])
    optimizer.build([intercept, slope])

    def step(x: tf.Tensor, y: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((intercept + slope * x[:, 0] - y) ** 2)
        optimizer.apply(tape.gradient(loss, [intercept, slope]), [intercept, slope])

    step, times = wrap(step), [time.perf_counter()]
    for _ in range(task.stops[-1]):
        for x, y in chunks(task):
            step(tf.constant(x), tf.constant(y))
        times.append(time.perf_counter())
    return _outcome(task, times, [float(intercept.numpy()), float(slope.numpy())])


def _outcome(task: Task, times: list[float], weights: list[float], reading: float = 0.0, loss: float = 0.0) -> Outcome:
    """Return the outcome; the first epoch's excess over the median of the others counts as compilation."""
    first, *laps = [after - before for before, after in itertools.pairwise(times)]
    compiling = max(0.0, first - sorted(laps)[len(laps) // 2])
    result = Fit(task.chunks[0], task.rates[0], task.stops[-1], weights, loss)
    return Outcome(task.rows, laps, [result], compiling, reading)
