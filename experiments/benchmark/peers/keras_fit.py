"""Keras `fit` on data in memory, compiled by XLA, 64 steps per execution: the fastest way to feed it."""

# The stubs of TensorFlow and Keras are narrower than what they accept.
# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import itertools
import time

import keras
import numpy as np

from experiments.benchmark.peers.reading import read
from experiments.benchmark.task import Fit, Outcome, Task, split_compilation


def train(task: Task) -> Outcome:
    """Read everything, then fit."""
    start = time.perf_counter()
    x, y = (np.ascontiguousarray(column) for column in np.split(read(task), 2, axis=1))
    reading = time.perf_counter() - start
    chunk, rate, epochs = task.chunks[0], task.rates[0], task.stops[-1]
    initial = dict.fromkeys(("kernel_initializer", "bias_initializer"), keras.initializers.Constant(0.1))
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, **initial)])
    steps = min(64, task.updates(chunk))
    model.compile(keras.optimizers.Adam(rate), "mse", jit_compile=True, steps_per_execution=steps)
    times: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: times.append(time.perf_counter()))
    model.fit(x, y, task.size(chunk), epochs=epochs, shuffle=False, verbose=0, callbacks=[clock])
    times.append(time.perf_counter())
    compiling, laps = split_compilation([after - before for before, after in itertools.pairwise(times)])
    kernel, bias = model.get_weights()
    fit = Fit(chunk, rate, epochs, [float(bias[0]), float(kernel[0, 0])])
    return Outcome(task.rows, laps, [fit], compiling, reading)
