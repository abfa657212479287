"""scikit-learn's `partial_fit` on pandas chunks. It has no Adam and updates the weights after each row."""

# scikit-learn has no types, and pyright guesses from its defaults.
# pyright: reportArgumentType=false, reportOptionalSubscript=false
from __future__ import annotations

import time

from sklearn.linear_model import SGDRegressor

from experiments.benchmark.peers.reading import chunks
from experiments.benchmark.task import Fit, Outcome, Task

RATE = 0.0002


def train(task: Task) -> Outcome:
    """Train chunk by chunk."""
    model = SGDRegressor(penalty=None, learning_rate="constant", eta0=RATE, random_state=0)
    laps = []
    for _ in range(task.stops[-1]):
        start = time.perf_counter()
        for x, y in chunks(task):
            model.partial_fit(x, y)
        laps.append(time.perf_counter() - start)
    weights = [float(model.intercept_[0]), float(model.coef_[0])]
    return Outcome(task.rows, laps, [Fit(task.chunks[0], RATE, task.stops[-1], weights)])
