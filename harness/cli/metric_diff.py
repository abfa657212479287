"""Two runs' numbers side by side: are they the same to the bit, and if not, by how much do they differ? Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Curves = Mapping[str, Mapping[int, float]]
"""A metric's points by their step, by the metric's name."""


@dataclass(frozen=True)
class Pair:
    """A metric of two runs.

    Attributes:
        metric: Its name.
        recorded: Its last value in the first run; None if it is not there.
        now: Its last value in the second.
        points: Steps that either has.
        missing: Of those, steps that one of them lacks.
        difference: The largest distance of two values of one step.
        step: Where that is.
    """

    metric: str
    recorded: float | None
    now: float | None
    points: int
    missing: int
    difference: float
    step: int

    @property
    def equal(self) -> bool:
        """Whether all points are the same, to the bit."""
        return not self.missing and self.difference == 0

    @property
    def relative(self) -> float:
        """The difference as a fraction of the recorded value."""
        return self.difference / abs(self.recorded) if self.recorded else self.difference


def is_a_time(metric: str) -> bool:
    """Whether a metric measures the machine, and is another each time."""
    return metric.startswith(("time/", "system/")) or metric == "rows_per_second"


def pairs(recorded: Curves, now: Curves, *, so_far: bool = False) -> list[Pair]:
    """Compare two runs metric by metric, leaving out times.

    Args:
        recorded: The first run's curves.
        now: The second's.
        so_far: Compare what the first has only, because it came to no end.
    """
    metrics = {*recorded, *([] if so_far else now)}
    return [
        _pair(metric, recorded.get(metric, {}), now.get(metric, {}), so_far=so_far)
        for metric in sorted(metrics)
        if not is_a_time(metric)
    ]


def _pair(metric: str, one: Mapping[int, float], other: Mapping[int, float], *, so_far: bool) -> Pair:
    if so_far:
        other = {step: other[step] for step in one if step in other}
    both = sorted(one.keys() & other.keys())
    distances = [abs(one[step] - other[step]) for step in both]
    largest = max(range(len(both)), key=distances.__getitem__) if both else None
    return Pair(
        metric,
        one[max(one)] if one else None,
        other[max(other)] if other else None,
        len(one.keys() | other.keys()),
        len(one.keys() ^ other.keys()),
        0.0 if largest is None else distances[largest],
        0 if largest is None else both[largest],
    )


def verdict(found: Sequence[Pair], endings: tuple[str, str]) -> tuple[bool, str]:
    """Return whether two runs are equal, and a sentence.

    Args:
        found: Their metrics.
        endings: How each of them ended.
    """
    different = [pair for pair in found if not pair.equal]
    if endings[0] != endings[1]:
        return False, f"different: it was {endings[0]}, and is {endings[1]} now."
    if different:
        widest = max(different, key=lambda pair: math.inf if pair.missing else pair.relative)
        by = f"{widest.metric} lacks points" if widest.missing else f"by up to {widest.relative:.2g} ({widest.metric})"
        return False, f"different: {len(different)} of {len(found)} metrics, {by}."
    points = sum(pair.points for pair in found)
    return True, f"equal: {len(found)} metrics, {points:,} points, to the bit; {endings[1]}."
