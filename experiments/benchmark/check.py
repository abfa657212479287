"""Results are checked against the reference before a time counts."""

from __future__ import annotations

import math

import numpy as np

from experiments.benchmark.process import PEERS
from experiments.benchmark.task import Fit, Outcome, Task

TOLERANCE = 1e-3
"""Largest difference of a weight for scaled values from the float64 reference."""
MARGIN = 1.05
"""Peers without Adam must reach this multiple of the least possible loss."""


def fault(name: str, task: Task, outcome: Outcome, reference: Outcome) -> str:
    """Return what is wrong with a peer's result, or an empty string.

    A line's weights are compared where the reference has the same configuration. A network must beat the best line.
    """
    gram = np.array(reference.gram)
    inputs, target = gram[:-1, :-1], gram[:-1, -1]
    least = float(gram[-1, -1] - target @ np.linalg.solve(inputs, target))
    if len(outcome.fits) < (task.configurations if PEERS[name].updates is None else 1):
        return f"{PEERS[name].label}: results are missing"
    for fit in outcome.fits:
        where = f"{PEERS[name].label}, chunk {fit.chunk}, rate {fit.rate:g}, {fit.epochs} epochs"
        if task.units:
            if fit.loss is None or not fit.loss < least:
                return f"{where}: its loss of {fit.loss} is not below that of the best line, {least:.4g}"
        elif not PEERS[name].adam:
            vector = np.array([*fit.weights, -1.0])
            if not (loss := float(vector @ gram @ vector)) <= MARGIN * least:
                return f"{where}: its loss of {loss:.4g} is too far above the least possible, {least:.4g}"
        elif expected := _same(fit, reference):
            off = float(np.max(np.abs(np.array(fit.weights) - expected.weights)))
            if not off <= TOLERANCE:
                return f"{where}: a weight differs from the reference by {off:.2g}"
    return ""


def _same(fit: Fit, reference: Outcome) -> Fit | None:
    """Return the reference's result of the same configuration."""
    for known in reference.fits:
        same_rate = math.isclose(known.rate, fit.rate, rel_tol=1e-6)
        if same_rate and (known.chunk, known.epochs) == (fit.chunk, fit.epochs):
            return known
    return None
