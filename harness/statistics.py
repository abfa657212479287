"""Statistics of columns, gathered in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.config import require


@dataclass(frozen=True)
class Column:
    """One column as it is trained on, with its statistics over the training rows.

    Attributes:
        name: In the source.
        log: Whether the values are natural logarithms of the source's.
        mean: In float64, as are all of them.
        std: Population standard deviation.
        min: Smallest value.
        max: Largest value.
    """

    name: str
    log: bool
    mean: float
    std: float
    min: float
    max: float


class Statistics:
    """Moments of columns, merged chunk by chunk (Chan, Golub and LeVeque, 1979); NaN is left out."""

    def __init__(self, columns: int) -> None:
        self._count = np.zeros(columns)
        self._mean = np.zeros(columns)
        self._squares = np.zeros(columns)
        self._min = np.full(columns, np.inf)
        self._max = np.full(columns, -np.inf)

    def add(self, values: np.ndarray) -> None:
        """Add rows, float64 `[rows, columns]`."""
        present = ~np.isnan(values)
        count = present.sum(axis=0)
        safe = np.where(present, values, 0.0)
        mean = safe.sum(axis=0) / np.maximum(count, 1)
        squares = np.where(present, (safe - mean) ** 2, 0.0).sum(axis=0)
        total = np.maximum(self._count + count, 1)
        delta = mean - self._mean
        self._squares += squares + delta**2 * self._count * count / total
        self._mean += delta * count / total
        self._count += count
        self._min = np.fmin(self._min, np.min(values, axis=0, initial=np.inf, where=present))
        self._max = np.fmax(self._max, np.max(values, axis=0, initial=-np.inf, where=present))

    def columns(self, names: Sequence[str], logs: np.ndarray) -> list[Column]:
        """Return the statistics of all rows so far.

        Raises:
            ConfigError: A column has no value.
        """
        for name, count in zip(names, self._count, strict=True):
            require(bool(count > 0), f"{name} expected a number in some training row", "empty fields only")
        std = np.sqrt(self._squares / self._count)
        return [
            Column(name, bool(log), *(float(value) for value in moments))
            for name, log, *moments in zip(names, logs, self._mean, std, self._min, self._max, strict=True)
        ]
