"""Adam in float64 NumPy: the results that a peer must reach. Its speed does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.benchmark.task import Fit, Outcome, Task

BLOCK_ROWS = 1_000_000


def constants(task: Task) -> Outcome:
    """Return the columns' means and standard deviations, as the weights of two fits."""
    values = _values(task)
    mean = values.mean(axis=0, dtype=np.float64)
    centred = replace(task, mean=tuple(mean), std=(1.0,) * len(mean))
    squares = sum((block**2).sum(axis=0) for block in _scaled(centred, values, 1))
    fits = [Fit(0, 0.0, 0, numbers.tolist()) for numbers in (mean, np.sqrt(squares / task.rows))]
    return Outcome(task.rows, fits=fits)


def train(task: Task) -> Outcome:
    """Train linear models with Adam (Kingma and Ba, 2015), all rates of a chunk size together."""
    values = _values(task)
    products = np.zeros((values.shape[1] + 1,) * 2)
    for block in _scaled(task, values, 1):
        whole = np.column_stack([np.ones(len(block)), block])
        products += whole.T @ whole
    fits = [] if task.units else [fit for chunk in task.chunks for fit in _adam(task, chunk, values)]
    return Outcome(task.rows, fits=fits, gram=(products / task.rows).tolist())


def _adam(task: Task, chunk: int | str, values: np.ndarray) -> list[Fit]:
    weights = np.full((values.shape[1], len(task.rates)), 0.1)
    first, second, step, size = np.zeros_like(weights), np.zeros_like(weights), 0, task.size(chunk)
    fits = []
    for epoch in range(1, task.passes + 1):
        for block in _scaled(task, values, size):
            inputs, targets = np.column_stack([np.ones(len(block)), block[:, :-1]]), block[:, -1:]
            for start in range(0, len(block), size):
                x, y = inputs[start : start + size], targets[start : start + size]
                gradient = 2 * x.T @ (x @ weights - y) / len(x)
                step += 1
                first = 0.9 * first + 0.1 * gradient
                second = 0.999 * second + 0.001 * gradient**2
                rate = np.asarray(task.rates) * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
                weights = weights - rate * first / (np.sqrt(second) + 1e-7)
        if epoch in task.stops:
            fits += [Fit(chunk, rate, epoch, lane.tolist()) for rate, lane in zip(task.rates, weights.T, strict=True)]
    return fits


def _values(task: Task) -> np.ndarray:
    frame = pd.read_csv(task.path, usecols=task.columns, dtype=np.float32, nrows=task.rows)
    return frame[task.columns].to_numpy()


def _scaled(task: Task, values: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield scaled blocks of whole chunks of `size` rows."""
    rows = size * max(1, BLOCK_ROWS // size)
    for start in range(0, len(values), rows):
        yield (values[start : start + rows].astype(np.float64) - task.mean) / task.std
