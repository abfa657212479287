"""Keras `fit` on data in memory, compiled by XLA, 64 steps per execution: the fastest way to feed it."""

# The stubs of TensorFlow and Keras are narrower than what they accept.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
from __future__ import annotations

import time

import keras
import numpy as np
import pandas as pd

from experiments.benchmark.task import Fit, Outcome, Task, split_compilation

STEPS_PER_EXECUTION = 64


class _EpochTimes(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._start)


def train(task: Task) -> Outcome:
    """Read everything, then fit."""
    start = time.perf_counter()
    values = pd.read_csv(task.path, usecols=task.columns, dtype=np.float32, nrows=task.rows)[task.columns].to_numpy()
    values = (values - np.array(task.mean, np.float32)) / np.array(task.std, np.float32)
    x, y = np.ascontiguousarray(values[:, :-1]), np.ascontiguousarray(values[:, -1])
    read = time.perf_counter() - start
    chunk, rate = task.chunks[0], task.rates[0]
    model, times = _model(task), _EpochTimes()
    steps = min(STEPS_PER_EXECUTION, task.updates(chunk))
    model.compile(keras.optimizers.Adam(rate), "mse", jit_compile=True, steps_per_execution=steps)
    options = {"batch_size": task.size(chunk), "epochs": task.passes, "shuffle": False, "verbose": 0}
    history = model.fit(x, y, callbacks=[times], **options)
    compiling, laps = split_compilation(times.seconds)
    weights = []
    if not task.units:
        kernel, bias = model.get_weights()
        weights = [float(bias[0]), *map(float, kernel[:, 0])]
    fit = Fit(chunk, rate, task.passes, weights, float(history.history["loss"][-1]))
    return Outcome(task.rows, compile=compiling, read=read, laps=laps, fits=[fit])


def _model(task: Task) -> keras.Model:
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(units, activation="relu") for units in task.units]
    start = keras.initializers.Constant(0.1)
    initial = {} if hidden else {"kernel_initializer": start, "bias_initializer": start}
    return keras.Sequential([keras.Input([len(task.features)]), *hidden, keras.layers.Dense(1, **initial)])
