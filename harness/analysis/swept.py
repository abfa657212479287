"""The keys that a sweep varies, and their values in the finished runs, for figures over several keys."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false, reportReturnType=false
from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from harness.analysis.replicates import averaged
from harness.analysis.settings import chunksize, settings
from harness.config.naming import REPLICATES
from harness.escaping import figure_label
from harness.tracking.frames import Sweep
from harness.tracking.ranking import Objective, objective
from harness.tracking.run_tags import EFFORT

NOT_SET = "not set"
"""Shown for runs without a key, such as a setting of another optimizer."""

LEAST_KEYS, LEAST_SEARCHED = 3, 2
"""With fewer swept keys, the curves and the heat map are enough; a search's curves end at rungs, and it has no grid."""

Level = float | str
"""A value of a key: a number, or text such as `full`."""


@dataclass(frozen=True)
class Swept:
    """The finished runs of a sweep, by the keys in which they differ; repetitions are averaged.

    Attributes:
        levels: One column for each key that has several values, and one row for each setting.
        runs: The same rows, with everything else known about them.
        objective: The deciding metric.
        left_out: Number of runs of the sweep that have not finished.
        is_wide: Whether there are enough keys for figures over several keys.
    """

    levels: pd.DataFrame
    runs: pd.DataFrame
    objective: Objective
    left_out: int
    is_wide: bool

    @property
    def values(self) -> pd.Series:
        """The deciding metric of each row."""
        return self.runs[self.objective.metric].astype(float)

    @property
    def costs(self) -> pd.Series:
        """The deciding metric of each row, signed so that smaller is better."""
        return self.objective.sign * self.values


def swept(sweep: Sweep) -> Swept:
    """Return the values, in the finished runs of `sweep`, of the keys that it varies."""
    found, means = objective(sweep.runs), averaged(sweep)
    runs = found.finished(means.runs).reset_index(drop=True)
    levels = {
        key: [_level(key, run) for run in runs.to_dict("records")]
        for key in settings(replace(means, runs=runs))
        if key not in REPLICATES
    }
    frame = pd.DataFrame({key: values for key, values in levels.items() if len(set(values)) > 1}, index=runs.index)
    is_wide = len(frame.columns) >= (LEAST_SEARCHED if EFFORT in sweep.tags else LEAST_KEYS)
    return Swept(frame, runs, found, int((sweep.runs["status"] != "FINISHED").sum()), is_wide)


def ordered_levels(values: pd.Series) -> list[Level]:
    """Return the distinct values: numbers first, then text by the numbers in it, such as `[8]` before `[64]`."""
    return sorted(set(values), key=_order)


def level_name(value: Level) -> str:
    """Return a value as an axis shows it."""
    if isinstance(value, str):
        return figure_label(value)
    return f"{value:,.0f}" if value == round(value) and 1000 <= abs(value) < 1e6 else f"{value:g}"


def key_name(key: str) -> str:
    """Return a key as an axis shows it."""
    return figure_label(key.removesuffix("._target_").removesuffix(".name"))


def _level(key: str, run: Any) -> Level:
    value = chunksize(run) if key == "chunksize" else run[key]
    if pd.isna(value):
        return NOT_SET
    try:
        return float(value)
    except ValueError:
        return str(value).rpartition(".")[-1] if key.endswith("_target_") else str(value)


def _order(value: Level) -> tuple[Any, ...]:
    if not isinstance(value, str):
        return (0, value)
    return (1, value == NOT_SET, [int(digits) for digits in re.findall(r"[0-9]+", value)], value)
