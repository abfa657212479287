"""Scales a table's columns, and converts a linear model's coefficients back to original units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.config import Scaling
from harness.data.statistics import Column
from harness.data.table import Table

CACHED_ROWS = 4096
"""Rows scaled at a time, so that the float64 values fit into a core's cache."""


@dataclass(frozen=True)
class Scaler:
    """Scales a table's columns: `scaled = (value - mean) / std`.

    Attributes:
        mean: float64 `[columns]`, features first.
        std: Likewise; 1 for a constant column.
        log_target: Whether the target's values are logarithms.
    """

    mean: np.ndarray
    std: np.ndarray
    log_target: bool

    @classmethod
    def of(cls, table: Table, scaling: Scaling, *, scale_target: bool = True) -> Scaler:
        """Make the scaler of a table; targets that are labels are not scaled."""
        mean, std = np.zeros(len(table.columns)), np.ones(len(table.columns))
        if scaling is Scaling.standard:
            scaled = slice(None) if scale_target else slice(len(table.features))
            mean[scaled] = [column.mean for column in table.columns][scaled]
            std[scaled] = [column.std if _varies(column) else 1.0 for column in table.columns][scaled]
        return cls(mean, std, table.targets[-1].log)

    @property
    def target_mean(self) -> float:
        """The mean subtracted from the target."""
        return float(self.mean[-1])

    @property
    def target_std(self) -> float:
        """The standard deviation by which the target is divided."""
        return float(self.std[-1])

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale float32 `[columns, rows]`; the arithmetic is in float64."""
        if not self.mean.any() and (self.std == 1).all():
            return values
        scaled = np.empty(values.shape, np.float32)
        mean, std = self.mean[:, None], self.std[:, None]
        wide = np.empty((len(values), CACHED_ROWS))
        for start in range(0, values.shape[1], CACHED_ROWS):
            some = values[:, start : start + CACHED_ROWS]
            part = wide[:, : some.shape[1]]
            np.subtract(some, mean, out=part)
            np.divide(part, std, out=part)
            scaled[:, start : start + CACHED_ROWS] = part
        return scaled

    def coefficients(self, kernel: np.ndarray, bias: float, inputs: Sequence[int] = (1,)) -> tuple[float, np.ndarray]:
        """Convert the intercept and slopes of a linear model trained on scaled columns to unscaled columns.

        `kernel` is `[inputs]`; `inputs` is the number of inputs per feature, one unless the feature is categorical.
        """
        mean, std = (np.repeat(values[:-1], inputs) for values in (self.mean, self.std))
        slopes = np.asarray(kernel, np.float64) * self.target_std / std
        intercept = self.target_mean + self.target_std * float(bias) - float(slopes @ mean)
        return intercept, slopes


def _varies(column: Column) -> bool:
    """Return True if values differ in float32; rounding alone can produce a standard deviation of 1e-17."""
    return not column.categories and bool(np.float32(column.min) < np.float32(column.max))
