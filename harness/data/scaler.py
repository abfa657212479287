"""Scales a table's columns, and converts a linear model's coefficients back to original units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.config import Scaling
from harness.data.statistics import Column
from harness.data.tables.table import Table

CACHED_ROWS = 4096
"""Rows scaled at a time, so that the float64 values fit into a core's cache."""


@dataclass(frozen=True)
class Scaler:
    """Scales a table's columns: `scaled = (value - mean) / std`, where `value = stored + offset`.

    Attributes:
        mean: float64 `[columns]`: features, targets, then weights.
        std: float64 `[columns]`; 1 for a constant column. For weights, which are only divided, this is their mean.
        offset: float64 `[columns]`: the columns' offsets.
        features: Number of features.
        log_targets: For each target, whether its values are logarithms.
    """

    mean: np.ndarray
    std: np.ndarray
    offset: np.ndarray
    features: int
    log_targets: tuple[bool, ...]

    @classmethod
    def of(cls, table: Table, scaling: Scaling, *, scale_target: bool = True) -> Scaler:
        """Create the scaler of a table; labels are not scaled, and weights get a mean of 1."""
        mean, std = np.zeros(len(table.columns)), np.ones(len(table.columns))
        if scaling is Scaling.standard:
            scaled = slice(len(table.features) + (len(table.targets) if scale_target else 0))
            mean[scaled] = [column.mean for column in table.columns][scaled]
            std[scaled] = [column.std if _varies(column) else 1.0 for column in table.columns][scaled]
        for index, column in enumerate(table.weights, start=len(table.features) + len(table.targets)):
            std[index] = column.mean
        return cls.with_statistics(table, mean.tolist(), std.tolist())

    @classmethod
    def with_statistics(
        cls, table: Table, mean: Sequence[float] | np.ndarray, std: Sequence[float] | np.ndarray
    ) -> Scaler:
        """Create the scaler of a table, with a given mean and standard deviation of each column."""
        offset = np.array([column.offset for column in table.columns])
        logs = tuple(column.log for column in table.targets)
        return cls(np.array(mean), np.array(std), offset, len(table.features), logs)

    @property
    def target_mean(self) -> tuple[float, ...]:
        """The mean subtracted from each target."""
        return self._of_targets(self.mean)

    @property
    def target_std(self) -> tuple[float, ...]:
        """The standard deviation by which each target is divided."""
        return self._of_targets(self.std)

    @property
    def target_offset(self) -> tuple[float, ...]:
        """The offset with which each target is stored."""
        return self._of_targets(self.offset)

    @property
    def stored_mean(self) -> np.ndarray:
        """The means of the stored values, float64 `[columns]`."""
        return self.mean - self.offset

    def scale(self, index: int, stored: np.ndarray, out: np.ndarray) -> None:
        """Scale stored values of a column, `[rows]`, to float32 `[rows]`; the arithmetic is in float64."""
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

    def coefficients(
        self, kernel: np.ndarray, bias: np.ndarray, inputs: Sequence[int] = (1,)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Convert intercepts and slopes of a linear model from scaled to unscaled columns.

        Args:
            kernel: `[inputs, outputs]`; there is one output per target, or per class of the only target.
            bias: `[outputs]`.
            inputs: Number of inputs per feature, one unless the feature is categorical.

        Returns:
            Intercepts `[outputs]` and slopes `[inputs, outputs]`, float64.
        """
        mean, std = (np.repeat(values[: self.features], inputs) for values in (self.mean, self.std))
        target_mean, target_std = (np.broadcast_to(each, len(bias)) for each in (self.target_mean, self.target_std))
        # Output by output, because a sum over a matrix may be computed in another order.
        columns = [
            np.asarray(column, np.float64) * scale / std for column, scale in zip(kernel.T, target_std, strict=True)
        ]
        intercepts = [
            center + scale * float(start) - float(slopes @ mean)
            for center, scale, start, slopes in zip(target_mean, target_std, bias, columns, strict=True)
        ]
        return np.array(intercepts), np.stack(columns, axis=1)

    def _of_targets(self, values: np.ndarray) -> tuple[float, ...]:
        return tuple(values[self.features : self.features + len(self.log_targets)].tolist())


def _varies(column: Column) -> bool:
    """Return True if stored values differ; rounding alone can produce a standard deviation of 1e-17."""
    low, high = (np.float32(value - column.offset) for value in (column.min, column.max))
    return not column.categories and bool(low < high)
