"""Compares the metrics of two runs: whether they are bit-identical and, if not, how far apart they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.config.metrics import is_best_value

OF_THE_MACHINE = ("rows_per_second", "memory/scan_mb", "memory/device_mb")

Curves = Mapping[str, Mapping[int, float]]
"""Each metric's values by step."""


@dataclass(frozen=True)
class Pair:
    """One metric in two runs."""

    metric: str
    recorded: float | None  # The last value of the first run.
    now: float | None  # The last value of the second run.
    points: int  # Steps in either run.
    missing: int  # Steps in only one of the runs.
    difference: float  # The largest difference at a step that both runs have.
    step: int  # That step.

    @property
    def equal(self) -> bool:
        """True if all points are bit-identical."""
        return not self.missing and self.difference == 0

    @property
    def relative(self) -> float:
        """The difference relative to the recorded value."""
        return self.difference / abs(self.recorded) if self.recorded else self.difference


def pairs(recorded: Curves, now: Curves, *, so_far: bool = False) -> list[Pair]:
    """Compare two runs metric by metric, except for those of the machine and those derived from curves.

    With `so_far`, only the points of the first run, which did not finish, are compared.
    """
    found = []
    metrics = recorded.keys() if so_far else recorded.keys() | now.keys()
    for metric in sorted(metrics):
        if metric.startswith(("time/", "system/")) or metric in OF_THE_MACHINE or is_best_value(metric):
            continue
        one, other = recorded.get(metric, {}), now.get(metric, {})
        if so_far:
            other = {step: value for step, value in other.items() if step in one}
        steps, either = sorted(one.keys() & other.keys()), one.keys() | other.keys()
        difference, step = max(((abs(one[step] - other[step]), -step) for step in steps), default=(0.0, 0))
        last, last_now = (curve[max(curve)] if curve else None for curve in (one, other))
        found.append(Pair(metric, last, last_now, len(either), len(either) - len(steps), difference, -step))
    return found


def verdict(found: Sequence[Pair], endings: tuple[str, str]) -> tuple[bool, str]:
    """Return whether two runs are equal and a sentence about it, given their metrics and how each ended."""
    different = [pair for pair in found if not pair.equal]
    if endings[0] != endings[1]:
        return False, f"different: the recorded run ended as {endings[0]}, this one as {endings[1]}."
    if different:
        widest = max(different, key=lambda pair: math.inf if pair.missing else pair.relative)
        by = f"{widest.metric} lacks points" if widest.missing else f"by up to {widest.relative:.2g} ({widest.metric})"
        return False, f"different: {len(different)} of {len(found)} metrics, {by}."
    points = sum(pair.points for pair in found)
    return True, f"equal: {len(found)} metrics, {points:,} points, bit-identical; {endings[1]}."
