"""Statistics of the only feature of a table of images: pixels, or a frozen model's output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from harness.data.statistics import Column

COUNTED_BYTES = 3 << 19
"""Bytes of pixels counted at once, a multiple of 2 pixels; NumPy converts them to 64-bit numbers."""


class FeatureStatistics(Protocol):
    """Statistics over the rows added so far."""

    def add(self, values: np.ndarray) -> None:
        """Add rows, `[rows, *shape]`."""
        ...

    def describe(self, column: Column) -> Column:
        """Return the column with these statistics."""
        ...


def statistics_of(column: Column) -> FeatureStatistics:
    """Return empty statistics for a column of pixels, uint8, or of other values, float32."""
    return PixelStatistics(column.shape[-1]) if column.dtype == "uint8" else ValueStatistics(column.shape[-1])


class PixelStatistics:
    """Counts of each value in each channel, from which the other statistics are computed exactly."""

    def __init__(self, channels: int) -> None:
        self._histograms = np.zeros((channels, 256), np.int64)

    def add(self, values: np.ndarray) -> None:
        """See `FeatureStatistics`."""
        pixels, channels = values.reshape(-1), len(self._histograms)
        odd = pixels.size % (2 * channels)
        # Counting pairs of bytes takes half as long; each byte is the first or second of a pair.
        pairs = pixels[: pixels.size - odd].view("<u2").reshape(-1, channels)
        for start in range(0, len(pairs), COUNTED_BYTES // 2 // channels):
            for index, column in enumerate(pairs[start : start + COUNTED_BYTES // 2 // channels].T):
                counts = np.bincount(column, minlength=1 << 16).reshape(256, 256)
                self._histograms[2 * index % channels] += counts.sum(axis=0)
                self._histograms[(2 * index + 1) % channels] += counts.sum(axis=1)
        for index, value in enumerate(pixels[pixels.size - odd :]):
            self._histograms[index % channels, value] += 1

    def describe(self, column: Column) -> Column:
        """See `FeatureStatistics`."""
        means, stds = zip(*map(_mean_and_std, self._histograms.tolist()), strict=True)
        all_channels = self._histograms.sum(axis=0)
        mean, std = _mean_and_std(all_channels.tolist())
        present = np.flatnonzero(all_channels)
        low, high = (float(present[0]), float(present[-1])) if len(present) else (0.0, 0.0)
        return replace(column, mean=mean, std=std, min=low, max=high, channel_means=means, channel_stds=stds)


class ValueStatistics:
    """Moments of each value of a row, merged page by page (Chan, Golub and LeVeque, 1979)."""

    def __init__(self, values: int) -> None:
        self._rows = 0
        self._means, self._squares = np.zeros((2, values))
        self._low, self._high = np.full(values, np.inf), np.full(values, -np.inf)

    def add(self, values: np.ndarray) -> None:
        """See `FeatureStatistics`."""
        wide = values.astype(np.float64)
        rows, total = len(wide), self._rows + len(wide)
        means = wide.mean(axis=0)
        delta = means - self._means
        self._squares += np.square(wide - means).sum(axis=0) + delta**2 * self._rows * rows / total
        self._means += delta * rows / total
        self._low, self._high = np.minimum(self._low, wide.min(axis=0)), np.maximum(self._high, wide.max(axis=0))
        self._rows = total

    def describe(self, column: Column) -> Column:
        """See `FeatureStatistics`; `mean` and `std` are over all values of all rows."""
        if not self._rows:
            return column
        # Rounding can turn the standard deviation of equal values into 1e-17.
        variances = np.where(self._high > self._low, self._squares / self._rows, 0.0)
        mean = float(self._means.mean())
        std = math.sqrt(float((variances + np.square(self._means - mean)).mean()))
        means, stds = tuple(self._means.tolist()), tuple(np.sqrt(variances).tolist())
        extremes = {"min": float(self._low.min()), "max": float(self._high.max())}
        return replace(column, mean=mean, std=std, **extremes, channel_means=means, channel_stds=stds)


def _mean_and_std(histogram: Sequence[int]) -> tuple[float, float]:
    count = max(sum(histogram), 1)
    total = sum(value * times for value, times in enumerate(histogram))
    squares = sum(value * value * times for value, times in enumerate(histogram))
    return total / count, math.sqrt(max(squares * count - total * total, 0)) / count
