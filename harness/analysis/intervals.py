"""Confidence intervals of mean differences between paired runs, adjusted if there are several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05


@dataclass(frozen=True)
class Differences:
    """Differences between paired runs.

    Attributes:
        values: One difference per pair.
        overlap: Rows held out divided by rows trained on, if pairs have different splits; else 0. Their training rows
            overlap, so the mean varies more than the differences suggest: `1/n` becomes `1/n + overlap` (Nadeau and
            Bengio, 2003).
    """

    values: np.ndarray
    overlap: float = 0.0

    @property
    def mean(self) -> float:
        """The mean of the differences."""
        return float(self.values.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean; 0 for fewer than two differences, or if all are equal up to rounding."""
        if len(self.values) < 2 or np.abs(self.values - self.mean).max() <= 1e-14 * abs(self.mean):
            return 0.0
        return float(self.values.std(ddof=1)) * math.sqrt(1 / len(self.values) + self.overlap)


def intervals(differences: Sequence[Differences]) -> list[tuple[float, float]]:
    """Return 95% confidence intervals of the means by Student's t, adjusted for their number.

    The probability that at least one of them excludes 0 when there is no difference is at most 5%. The differences must
    vary: those with an `error` of 0 have no interval.
    """
    from scipy.stats import t  # SciPy takes a second to import and is only needed with several seeds or splits.

    p = [float(2 * t.sf(abs(each.mean) / each.error, len(each.values) - 1)) for each in differences]
    found = []
    for each, level in zip(differences, holm_levels(p), strict=True):
        margin = float(t.ppf(1 - level / 2, len(each.values) - 1)) * each.error
        found.append((each.mean - margin, each.mean + margin))
    return found


def holm_levels(p: Sequence[float]) -> list[float]:
    """Return the level at which Holm's step-down procedure tests each of these p-values (Holm, 1979).

    The smallest p-value is tested at `ALPHA / n`, the next at `ALPHA / (n - 1)` and so on, up to the first that is not
    significant. The rest are tested at the same level as that one, so none of them is significant either.
    """
    levels, level = [0.0] * len(p), 0.0
    is_over = False
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        if not is_over:
            level = ALPHA / (len(p) - rank)
            is_over = p[index] > level
        levels[index] = level
    return levels
