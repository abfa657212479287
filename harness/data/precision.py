"""Keeps float32 from losing the variation of values that are large but close together, such as Unix times.

Such a column is stored as its difference from an offset, computed in float64. The offset depends only on the first rows
of the source. If a column turns out to need a different offset, the number of digits that it keeps is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from harness.config import Scaling
from harness.data.statistics import Column, Moments

FINE = 2.0**-14
"""Rounding errors up to this fraction of a column's range do not matter."""
EXACT = 2.0**24
"""float32 represents all whole numbers up to this one."""
ENOUGH_DIGITS = 3


class Offsets:
    """Decides the offsets of columns from their minimum, maximum and rounding error over the first rows."""

    def __init__(self, numeric: Sequence[bool], rows: int) -> None:
        """Consider the first `rows` rows; columns that are not `numeric` get no offset."""
        self._missing = rows
        self._numeric = np.array(numeric)
        self._low, self._high = np.full(len(numeric), np.inf), np.full(len(numeric), -np.inf)
        self._error = np.zeros(len(numeric))
        self._values: np.ndarray | None = None

    def add(self, values: np.ndarray, keep: np.ndarray) -> None:
        """Add the rows of `values`, float64 `[columns, rows]`, that `keep`, bool `[rows]`, selects; NaN is ignored."""
        if not self._missing:
            return
        rows = values[:, np.flatnonzero(keep)[: self._missing]]
        self._missing -= rows.shape[1]
        self._low = np.fmin(self._low, np.fmin.reduce(rows, axis=1, initial=np.inf))
        self._high = np.fmax(self._high, np.fmax.reduce(rows, axis=1, initial=-np.inf))
        errors = np.abs(rows.astype(np.float32) - rows)
        self._error = np.fmax(self._error, np.fmax.reduce(errors, axis=1, initial=0.0))

    def values(self) -> np.ndarray:
        """Return the offsets, float64 `[columns]`, exact in float32; call this once the first rows are known."""
        if self._values is None:
            known = self._numeric & (self._low <= self._high)
            low, high = np.where(known, self._low, 0.0), np.where(known, self._high, 0.0)
            is_coarse = self._error > FINE * (high - low)
            # A constant may be exact in float32 and vary later.
            needed = np.where(low < high, is_coarse, np.abs(low) > EXACT)
            middle = (low / 2 + high / 2).astype(np.float32).astype(np.float64)
            self._values = np.where(needed & known, middle, 0.0)
        return self._values


def rounding_error(values: np.ndarray, stored: np.ndarray, offset: float, moments: Moments) -> float:
    """Return the largest rounding error of a page's values, float64 `[rows]`; 0 if it cannot matter.

    Args:
        values: The values; NaN is ignored.
        stored: The values in float32, after subtracting the offset.
        offset: The column's offset.
        moments: The column's moments so far, including these values.
    """
    magnitude = max(abs(moments.min - offset), abs(moments.max - offset))
    if spacing(magnitude) <= 4 * FINE * moments.std:
        return 0.0  # Saves a pass over the values of ordinary columns.
    return float(np.fmax.reduce(np.abs(values - offset - stored), initial=0.0))


def keeps_whole_numbers(low: float, high: float) -> bool:
    """Return True if a table can hold all whole numbers from `low` to `high`, using an offset if necessary."""
    largest = max(-low, high)
    has_offset = spacing(largest) / 2 > FINE * (high - low)
    return ((high - low) / 2 if has_offset else largest) <= EXACT


def spacing(magnitude: float) -> float:
    """Return the distance between neighboring float32 numbers of this magnitude."""
    return float(np.spacing(np.float32(min(magnitude, float(np.finfo(np.float32).max) / 2))))


def describe_rounding(columns: Iterable[Column], scaling: Scaling) -> Iterator[str]:
    """Yield a message about each column of which fewer than three digits reach training."""
    for column in columns:
        if not column.min < column.max or column.categories:
            continue
        found = f"{column.name} varies by only {column.std:.3g} around {column.mean:.10g}"
        whole = spacing(max(-column.min, column.max)) / 2
        if (digits := _digits(column, column.rounding)) < ENOUGH_DIGITS:
            yield f"{found}; float32 keeps {_count(digits)} of that. Subtract a constant in the source."
        elif column.offset and scaling is Scaling.none and (digits := _digits(column, whole)) < ENOUGH_DIGITS:
            lost = f"with data.scaling=none, float32 keeps {_count(digits)} of that"
            yield f"{found}; {lost}; data.scaling=standard keeps all."


def _digits(column: Column, error: float) -> int:
    """Return how many decimal digits of a column's standard deviation are larger than a rounding error."""
    if not error:
        return ENOUGH_DIGITS
    return max(int(math.log10(column.std / error)), 0) if column.std > error else 0


def _count(digits: int) -> str:
    return "one digit" if digits == 1 else f"{digits or 'no'} digits"
