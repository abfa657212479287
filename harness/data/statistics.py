"""Statistics of columns, gathered in one pass."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.config.keys import category_key, key_of, other_key
from harness.formatting import number

BINS = 4096
PARTS = 10


@dataclass(frozen=True)
class Column:
    """A column of a table, with its statistics over the training rows.

    Attributes:
        log: Whether the values are natural logarithms of those in the source.
        count: Number of values that are not empty.
        std: Population standard deviation. All statistics refer to `stored + offset`.
        categories: For a categorical column, the categories in training rows, ascending, as numbers if all of them are
            numbers. They are stored as 1, 2, ..., and unknown categories as 0; `mean` is 0 and `std` is 1. For a
            target, the classes in the order of the model's outputs, stored as 0, 1, ...
        dtype: Type of the stored values.
        shape: Shape of a row's value; empty for a number.
        offset: Subtracted from values before they are stored, if float32 is too coarse at their magnitude.
        rounding: The largest rounding error of a value in the training rows, if it may matter; else 0.
        channel_means: For images, the mean of each channel over all pixels of the training rows; else empty.
        channel_stds: For images, the population standard deviation of each channel; else empty.
    """

    name: str
    log: bool
    count: int
    mean: float
    std: float
    min: float
    max: float
    categories: tuple[float, ...] | tuple[str, ...] = ()
    dtype: Literal["float32", "int32", "uint8"] = "float32"
    shape: tuple[int, ...] = ()
    offset: float = 0.0
    rounding: float = 0.0
    channel_means: tuple[float, ...] = ()
    channel_stds: tuple[float, ...] = ()

    @property
    def file_type(self) -> np.dtype:
        """Type of the stored values, little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def value_bytes(self) -> int:
        """Size of one row's value in bytes."""
        return math.prod(self.shape) * self.file_type.itemsize

    def own_units(self, stored: np.ndarray) -> np.ndarray:
        """Convert stored numbers back to those in the source, float64."""
        values = stored.astype(np.float64) + self.offset
        return np.exp(values) if self.log else values

    @property
    def is_text(self) -> bool:
        """Whether the column's categories are text."""
        return bool(self.categories) and isinstance(self.categories[0], str)

    @property
    def inputs(self) -> int:
        """Number of model inputs for this column."""
        return len(self.categories) + 1 if self.categories else 1


def input_keys(features: Sequence[Column]) -> list[str]:
    """Return the keys of the inputs: one for a number; for categories, one for unknown ones, then one for each.

    Keys are unique. The key of a number is its column's key, even if that contains slashes, unless it could be mistaken
    for a category of another column.
    """
    categorical = tuple(f"{key_of(column.name, reserved='/')}/" for column in features if column.categories)
    keys = []
    for column in features:
        if column.categories:
            keys += [
                other_key(column.name),
                *(category_key(column.name, category_text(each)) for each in column.categories),
            ]
        else:
            key = key_of(column.name)
            keys.append(key_of(column.name, reserved="/") if key.startswith(categorical) else key)
    return keys


def category_text(category: float | str) -> str:
    """Return a category as text; a number has as few digits as distinguish it from other float32 numbers."""
    if isinstance(category, str):
        return category
    if category.is_integer() and abs(category) < 1e15:
        return f"{category:.0f}"
    short = f"{category:g}"
    return short if np.float32(short) == np.float32(category) else f"{category:.9g}"


class Moments:
    """Moments of one column, merged part by part (Chan, Golub and LeVeque, 1979), ignoring NaN."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.min, self.max = np.inf, -np.inf
        self._squares = 0.0

    def add(self, values: np.ndarray) -> None:
        """Add rows, float64 `[rows]`."""
        if np.isnan(mean := values.mean() if len(values) else np.nan):
            values = values[~np.isnan(values)]
            if not len(values):
                return
            mean = values.mean()
        count, total = len(values), self.count + len(values)
        squares = np.square(values - mean)
        delta = mean - self.mean
        self._squares += float(squares.sum()) + delta**2 * self.count * count / total
        self.mean = float(self.mean + delta * count / total)
        self.count = total
        self.min, self.max = min(self.min, float(values.min())), max(self.max, float(values.max()))

    @property
    def std(self) -> float:
        """Population standard deviation."""
        return float(np.sqrt(self._squares / max(self.count, 1)))


class Drift:
    """Sums of a column over an unknown number of rows, in at most `BINS` bins with the same number of rows."""

    def __init__(self) -> None:
        self._width = 1
        self._sums, self._counts = np.zeros((2, BINS))

    def add(self, first_row: int, values: np.ndarray) -> None:
        """Add rows from `first_row` on, float64 `[rows]`; NaN is ignored."""
        while first_row + len(values) > self._width * BINS:
            half = BINS // 2
            for bins in (self._sums, self._counts):
                bins[:half], bins[half:] = bins.reshape(half, 2).sum(axis=1), 0
            self._width *= 2
        # The starts of bins within these values; the first bin may have started earlier.
        starts = np.arange(-(first_row % self._width), len(values), self._width).clip(0)
        bins = slice(first_row // self._width, first_row // self._width + len(starts))
        present = ~np.isnan(values)
        self._sums[bins] += np.add.reduceat(np.where(present, values, 0.0), starts)
        self._counts[bins] += np.add.reduceat(present, starts, dtype=np.float64)

    def worst(self, rows: int, mean: float, std: float) -> tuple[int, int, float] | None:
        """Return the first and last row, from 1, and the mean of the tenth of `rows` whose mean deviates the most.

        Return None if that mean deviates by at most 0.05 standard deviations or four standard errors, whichever is
        larger.
        """
        edges = np.arange(PARTS + 1) * -(-rows // self._width) // PARTS
        counts = np.array([self._counts[start:stop].sum() for start, stop in itertools.pairwise(edges)])
        sums = np.array([self._sums[start:stop].sum() for start, stop in itertools.pairwise(edges)])
        means = np.where(counts > 0, sums / np.maximum(counts, 1), mean)
        part = int(np.abs(means - mean).argmax())
        if abs(means[part] - mean) <= std * max(0.05, 4 / np.sqrt(max(counts[part], 1))):
            return None
        return int(edges[part] * self._width) + 1, min(int(edges[part + 1] * self._width), rows), float(means[part])

    def describe(self, name: str, rows: int, mean: float, std: float) -> str:
        """Return the result of `worst` as a sentence without a period, or an empty string."""
        if (found := self.worst(rows, mean, std)) is None:
            return ""
        first, last, part_mean = found
        there = f"its mean is {number(part_mean)} in rows {first:,} to {last:,} and {number(mean)} overall"
        return f"{name} drifts across the rows: {there}"
