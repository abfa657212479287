"""Keras's own `fit`, fed in the three ways that its users have, compiled by XLA."""

# The stubs that pyright has for TensorFlow and Keras are narrower than what they take.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from experiments.peers.chunks import chunks
from experiments.peers.task import Fit, Outcome, Task, apart

STEPS_PER_EXECUTION = 64


class _Laps(keras.callbacks.Callback):
    """Takes the time of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._start)


def memory(task: Task) -> Outcome:
    """Read everything first; then many steps an execution."""
    start = time.perf_counter()
    values = pd.read_csv(task.path, usecols=task.columns, dtype=np.float32, nrows=task.rows)[task.columns].to_numpy()
    values = (values - np.array(task.mean, np.float32)) / np.array(task.std, np.float32)
    x, y = np.ascontiguousarray(values[:, :-1]), np.ascontiguousarray(values[:, -1])
    read = time.perf_counter() - start
    size = task.size(task.chunks[0])
    return _fit(task, x, read, y=y, batch_size=size)


def generator(task: Task) -> Outcome:
    """Feed pandas chunks."""

    def endless() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            yield from chunks(task)

    return _fit(task, endless(), steps_per_epoch=_steps(task))


def csv(task: Task) -> Outcome:
    """Have TensorFlow read the CSV."""
    features, target = list(task.features), task.target
    mean, std = (dict(zip(task.columns, values, strict=True)) for values in (task.mean, task.std))

    def scaled(columns: dict[str, tf.Tensor], label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.stack([(columns[name] - mean[name]) / std[name] for name in features], axis=1)
        return x, (label - mean[target]) / std[target]

    header = pd.read_csv(task.path, nrows=0).columns
    rows = tf.data.experimental.make_csv_dataset(
        task.path,
        task.size(task.chunks[0]),
        label_name=target,
        select_columns=sorted(task.columns, key=list(header).index),
        column_defaults=[tf.float32] * len(task.columns),
        num_epochs=1,
        shuffle=False,
    )
    steps = _steps(task)
    return _fit(task, rows.take(steps).map(scaled).apply(tf.data.experimental.assert_cardinality(steps)))


def _steps(task: Task) -> int:
    return -(-task.rows // task.size(task.chunks[0]))


def _model(task: Task) -> keras.Model:
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(units, activation="relu") for units in task.units]
    initial = (
        {} if hidden else dict.fromkeys(("kernel_initializer", "bias_initializer"), keras.initializers.Constant(0.1))
    )
    return keras.Sequential([keras.Input([len(task.features)]), *hidden, keras.layers.Dense(1, **initial)])


def _fit(task: Task, source: Any, read: float = 0.0, **options: Any) -> Outcome:
    model, laps = _model(task), _Laps()
    model.compile(
        keras.optimizers.Adam(task.rates[0]),
        "mse",
        jit_compile=True,
        steps_per_execution=min(STEPS_PER_EXECUTION, _steps(task)) if "batch_size" in options else 1,
    )
    history = model.fit(source, epochs=task.passes, shuffle=False, verbose=0, callbacks=[laps], **options)
    compiling, epochs = apart(laps.seconds)
    weights = []
    if not task.units:
        kernel, bias = model.get_weights()
        weights = [float(bias[0]), *map(float, kernel[:, 0])]
    fit = Fit(task.chunks[0], task.rates[0], task.passes, weights, float(history.history["loss"][-1]))
    return Outcome(task.rows, compile=compiling, read=read, laps=epochs, fits=[fit])
