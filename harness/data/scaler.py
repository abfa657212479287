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
    """Scales a table's columns: `scaled = (value - mean) / std`, where `value = stored + offset`.

    Attributes:
        mean: float64 `[columns]`, features first.
        std: Likewise; 1 for a constant column.
        offset: Likewise; the columns' offsets.
        targets: Number of targets.
        log_target: Whether the target's values are logarithms.
    """

    mean: np.ndarray
    std: np.ndarray
    offset: np.ndarray
    targets: int
    log_target: bool

    @classmethod
    def of(cls, table: Table, scaling: Scaling, *, scale_target: bool = True) -> Scaler:
        """Make the scaler of a table; targets that are labels are not scaled."""
        mean, std = np.zeros(len(table.columns)), np.ones(len(table.columns))
        if scaling is Scaling.standard:
            scaled = slice(None) if scale_target else slice(len(table.features))
            mean[scaled] = [column.mean for column in table.columns][scaled]
            std[scaled] = [column.std if _varies(column) else 1.0 for column in table.columns][scaled]
        return cls.with_statistics(table, mean.tolist(), std.tolist())

    @classmethod
    def with_statistics(
        cls, table: Table, mean: Sequence[float] | np.ndarray, std: Sequence[float] | np.ndarray
    ) -> Scaler:
        """Make the scaler of a table with a given mean and standard deviation of each column."""
        offset = np.array([column.offset for column in table.columns])
        return cls(np.array(mean), np.array(std), offset, len(table.targets), table.targets[0].log)

    @property
    def target_mean(self) -> float:
        """The mean subtracted from the target."""
        return float(self.mean[-self.targets])

    @property
    def target_std(self) -> float:
        """The standard deviation by which the target is divided."""
        return float(self.std[-self.targets])

    @property
    def target_offset(self) -> float:
        """The offset with which the target is stored."""
        return float(self.offset[-self.targets])

    @property
    def stored_mean(self) -> np.ndarray:
        """The means of the stored values, float64 `[columns]`."""
        return self.mean - self.offset

    def scale(self, index: int, stored: np.ndarray, out: np.ndarray) -> None:
        """Scale stored values of a column, `[rows]`, into float32 `[rows]`; the arithmetic is in float64."""
        mean, std = self.stored_mean[index], self.std[index]
        if mean == 0 and std == 1:
            out[...] = stored
            return
        wide = np.empty(CACHED_ROWS)
        for start in range(0, len(stored), CACHED_ROWS):
            some = stored[start : start + CACHED_ROWS]
            part = wide[: len(some)]
            np.subtract(some, mean, out=part, dtype=np.float64)
            np.divide(part, std, out=part)
            out[start : start + CACHED_ROWS] = part

    def apply(self, stored: Sequence[np.ndarray]) -> np.ndarray:
        """Scale stored values of all columns, `[rows]` each, to float32 `[columns, rows]`."""
        scaled = np.empty((len(stored), len(stored[0])), np.float32)
        for index, values in enumerate(stored):
            self.scale(index, values, scaled[index])
        return scaled

    def coefficients(self, kernel: np.ndarray, bias: float, inputs: Sequence[int] = (1,)) -> tuple[float, np.ndarray]:
        """Convert the intercept and slopes of a linear model trained on scaled columns to unscaled columns.

        `kernel` is `[inputs]`; `inputs` is the number of inputs per feature, one unless the feature is categorical.
        """
        mean, std = (np.repeat(values[: -self.targets], inputs) for values in (self.mean, self.std))
        slopes = np.asarray(kernel, np.float64) * self.target_std / std
        intercept = self.target_mean + self.target_std * float(bias) - float(slopes @ mean)
        return intercept, slopes


def _varies(column: Column) -> bool:
    """Return True if stored values differ; rounding alone can produce a standard deviation of 1e-17."""
    low, high = (np.float32(value - column.offset) for value in (column.min, column.max))
    return not column.categories and bool(low < high)
