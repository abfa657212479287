"""The finished runs of a sweep, grouped by setting, and their loss curves."""

# pandas' types are wider than what these calls return.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.tracking.frames import Sweep

AXES = {"epochs": "epoch", "rows": "rows", "updates": "updates", "time": "seconds"}
"""What two runs can have used the same amount of, and the column of `Sweep.curves` that holds it."""

Curve = Mapping[str, np.ndarray]
Point = Mapping[str, float]
Run = dict[Any, Any]
Setting = tuple[tuple[str, Any], ...]


def finished_runs(sweep: Sweep) -> list[Run]:
    """Return the finished runs."""
    return sweep.runs[sweep.runs["status"] == "FINISHED"].to_dict("records")


def setting(run: Run, keys: Sequence[str]) -> Setting:
    """Return the values of `keys` that `run` has."""
    return tuple((key, run[key]) for key in keys if pd.notna(run.get(key)))


def curves_of(sweep: Sweep, metric: str) -> dict[str, Curve]:
    """Return the curve of each run by run id; runs without one get an empty curve."""
    names = ["value", *AXES.values()]
    points = sweep.curves[sweep.curves["metric"] == metric].sort_values("step")
    curves = {run_id: dict.fromkeys(names, np.zeros(0)) for run_id in sweep.runs["run_id"]}
    for run_id, curve in points.groupby("run_id"):
        curves[run_id] = dict(zip(names, curve[names].to_numpy(float).T, strict=True))
    return curves


def point(curve: Curve, index: int) -> Point:
    """Return the point of `curve` at `index`."""
    return {name: float(values[index]) for name, values in curve.items()}


def known(value: Any) -> float | None:
    """Return None for NaN."""
    return None if pd.isna(value) else float(value)
