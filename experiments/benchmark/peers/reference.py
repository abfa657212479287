"""Adam in float64 NumPy: the results that peers must reproduce. Its speed does not matter."""

import math

import numpy as np

from experiments.benchmark.peers.reading import read
from experiments.benchmark.process import PEERS
from experiments.benchmark.task import Fit, Outcome, Task

TOLERANCE = 1e-3  # Maximum difference from the reference of a weight for scaled values.
NEAR = 0.15  # For peers without Adam: maximum difference from the least-squares line.


def train(task: Task) -> Outcome:
    """Find the least-squares fit, then train with Adam (Kingma and Ba, 2015), all rates of a chunk size together."""
    values = read(task, np.float64)
    x, y = np.column_stack([np.ones(len(values)), values[:, :-1]]), values[:, -1:]
    best, *_ = np.linalg.lstsq(x, y)
    fits = [Fit("least squares", 0.0, 0, best[:, 0].tolist(), float(np.mean((x @ best - y) ** 2)))]
    for chunk in () if task.units else task.chunks:
        weights = np.full((2, len(task.rates)), 0.1)
        first, second, step, size = np.zeros_like(weights), np.zeros_like(weights), 0, task.size(chunk)
        for epoch in range(1, task.stops[-1] + 1):
            for start in range(0, task.rows, size):
                inputs, targets = x[start : start + size], y[start : start + size]
                gradient = 2 * inputs.T @ (inputs @ weights - targets) / len(inputs)
                step += 1
                first = 0.9 * first + 0.1 * gradient
                second = 0.999 * second + 0.001 * gradient**2
                rate = np.asarray(task.rates) * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
                weights = weights - rate * first / (np.sqrt(second) + 1e-7)
            if epoch in task.stops:
                fits += [Fit(chunk, rate, epoch, w.tolist()) for rate, w in zip(task.rates, weights.T, strict=True)]
    return Outcome(task.rows, [], fits)


def fault(name: str, task: Task, outcome: Outcome, reference: Outcome) -> str:
    """Return what is wrong with a peer's result, or an empty string.

    If the reference has the same configuration, weights must agree; without Adam, they must be close to the
    least-squares line. The best multilayer perceptron must have a smaller loss than the linear model.
    """
    peer, (line, *known) = PEERS[name], reference.fits
    if len(outcome.fits) < (1 if peer.updates else task.configurations):
        return f"{peer.label}: results are missing"
    if task.units:
        loss = min(fit.loss for fit in outcome.fits)
        return "" if loss < line.loss else f"{peer.label}: a loss of {loss:.4g}, a linear model has {line.loss:.4g}"
    expected = {(fit.chunk, f"{fit.rate:.5g}", fit.epochs): fit for fit in known}
    for fit in outcome.fits:
        right = expected.get((fit.chunk, f"{fit.rate:.5g}", fit.epochs)) if peer.adam else line
        off = max(abs(a - b) for a, b in zip(fit.weights, right.weights, strict=True)) if right else 0.0
        if not off <= (TOLERANCE if peer.adam else NEAR):
            where = f"chunk {fit.chunk}, rate {fit.rate:g}, {fit.epochs} epochs"
            return f"{peer.label}, {where}: a weight differs from the reference by {off:.2g}"
    return ""
