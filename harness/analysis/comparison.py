"""Compares full-sample runs with batch runs after the same epochs, rows, updates and time."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.objective import Run, Setting, chunksize, finished_runs, objective, setting, settings
from harness.tracking.frames import Sweep

SHARED_SCAN = (
    "Training times cannot be compared: the runs shared a scan and took equally long. Use hydra/launcher=basic to "
    "train and time each run on its own."
)
NO_COMMON_UPDATES = (
    "The runs cannot be compared at the same number of updates: a batch run's first epoch has more updates than the "
    "whole full-sample run. Train the full sample for more epochs."
)
NOTHING_IN_COMMON = "The runs cannot be compared: their curves have no point in common."
AXES = {"epochs": "epoch", "rows": "rows", "updates": "updates", "time": "seconds"}
"""The quantities at which two runs can be compared, and the column of `Sweep.curves` that holds each."""

BySeed = Mapping[Any, Run]
Curve = Mapping[str, np.ndarray]
Point = Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """A full-sample run and the best batch run with the same settings; values are means over seeds.

    Attributes:
        setting: The settings that both share: learning rate, epochs, ...
        axis: The quantity at which both are compared: `epochs`, `rows`, `updates` or `time`.
        at: The value of that quantity; None if the runs cannot be compared.
        reason: Why the runs cannot be compared.
        chunksize: Rows of the batch run's chunks.
        full: The full-sample run's value of the deciding metric; `batch` is the batch run's.
        better: `full`, `batch` or `equal`; empty if the runs cannot be compared.
        seeds: Number of pairs of runs with equal seeds.
        full_std: Sample standard deviation over seeds; None for a single seed.
        difference: Mean of `batch - full` over the pairs.
        interval: 95 % confidence interval of the mean difference: Student's t for paired samples.
        full_updates: Updates at the point of comparison.
        full_memory_mb: Memory taken by the rows of one update.
    """

    setting: dict[str, Any]
    axis: str
    at: float | None = None
    reason: str = ""
    chunksize: int | None = None
    full: float | None = None
    batch: float | None = None
    better: str = ""
    seeds: int = 0
    full_std: float | None = None
    batch_std: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    full_updates: float | None = None
    batch_updates: float | None = None
    full_memory_mb: float | None = None
    batch_memory_mb: float | None = None


def compare_full_to_batch(sweep: Sweep) -> list[Comparison]:
    """Compare each full-sample run with the best of the batch runs that differ from it only in chunksize.

    Only finished runs are compared, at the last point that both have. There is one comparison per axis and setting.
    """
    metric, sign = objective(sweep.runs)
    keys = [key for key in settings(sweep) if key not in ("chunksize", "seed")]
    groups: dict[Setting, dict[str, dict[Any, Run]]] = defaultdict(lambda: defaultdict(dict))
    for run in finished_runs(sweep):
        groups[setting(run, keys)][chunksize(run)][run.get("seed")] = run
    curves = curves_of(sweep, metric)
    found = []
    for shared, sizes in sorted(groups.items(), key=lambda item: [(isinstance(v, str), v) for _, v in item[0]]):
        full = sizes.pop("full", None)
        if full and sizes:
            for axis in AXES:
                each = [_compare(dict(shared), axis, full, batch, curves, sign) for batch in sizes.values()]
                comparable = [comparison for comparison in each if comparison.better]
                best = min(comparable, key=lambda comparison: sign * (comparison.batch or 0.0), default=each[0])
                found.append(best)
    return found


def curves_of(sweep: Sweep, metric: str) -> Mapping[str, Curve]:
    """Return the curve of each run by run id; runs without one get an empty curve."""
    names = ["value", *AXES.values()]
    points = sweep.curves[sweep.curves["metric"] == metric].sort_values(["run_id", "step"])
    curves = {run_id: dict.fromkeys(names, np.zeros(0)) for run_id in sweep.runs["run_id"]}
    run_ids, starts = np.unique(points["run_id"].to_numpy(object), return_index=True)
    pieces = np.split(points[names].to_numpy(float).T, starts[1:], axis=1)
    return curves | {
        run_id: dict(zip(names, piece, strict=True)) for run_id, piece in zip(run_ids, pieces, strict=False)
    }


def point(curve: Curve, index: int) -> Point:
    """Return the point of `curve` at `index`."""
    return {name: float(values[index]) for name, values in curve.items()}


def known(value: Any) -> float | None:
    """Return None for NaN."""
    return None if pd.isna(value) else float(value)


def _compare(
    shared: dict[str, Any], axis: str, full_runs: BySeed, batch_runs: BySeed, curves: Mapping[str, Curve], sign: int
) -> Comparison:
    pairs = [(full_runs[seed], batch_runs[seed]) for seed in full_runs if seed in batch_runs]
    if axis == "time" and any(run.get("time/shared_by", 1) != 1 for pair in pairs for run in pair):
        return Comparison(shared, axis, reason=SHARED_SCAN)
    points = [_last_common_points(axis, *(curves[run["run_id"]] for run in pair)) for pair in pairs]
    common = [each for each in points if each is not None]
    if not common or (axis != "time" and len({at for _, _, at in common}) > 1):
        return Comparison(shared, axis, reason=NO_COMMON_UPDATES if axis == "updates" else NOTHING_IN_COMMON)
    full, batch = (np.array([each[side]["value"] for each in common]) for side in (0, 1))
    difference = float((batch - full).mean())
    return Comparison(
        shared,
        axis,
        at=float(np.mean([at for _, _, at in common])),
        chunksize=int(pairs[0][1]["chunksize"]),
        full=float(full.mean()),
        batch=float(batch.mean()),
        better="equal" if difference == 0 else "batch" if sign * difference < 0 else "full",
        seeds=len(common),
        full_std=known(pd.Series(full).std()),
        batch_std=known(pd.Series(batch).std()),
        difference=difference,
        interval=_interval(batch, full),
        full_updates=known(np.mean([full["updates"] for full, _, _ in common])),
        batch_updates=known(np.mean([batch["updates"] for _, batch, _ in common])),
        full_memory_mb=known(pairs[0][0].get("memory/update_mb", math.nan)),
        batch_memory_mb=known(pairs[0][1].get("memory/update_mb", math.nan)),
    )


def _last_common_points(axis: str, full: Curve, batch: Curve) -> tuple[Point, Point, float] | None:
    """Return the last points at which both curves have the same value of `axis`, and that value, or None."""
    sides = [curve[AXES[axis]] for curve in (full, batch)]
    if axis == "time":  # Epochs end at different times, so take the last epoch of each run that ended by then.
        at = min((side[-1] for side in sides if side.size), default=math.nan)
        indices = [int(np.searchsorted(side, at, side="right")) - 1 for side in sides]
        if min(indices) < 0:
            return None
    else:
        common, *found = np.intersect1d(*sides, return_indices=True)
        if not common.size or not np.isfinite(common[-1]):
            return None
        at, indices = common[-1], [int(side[-1]) for side in found]
    return point(full, indices[0]), point(batch, indices[1]), float(at)


def _interval(batch: np.ndarray, full: np.ndarray) -> tuple[float, float] | None:
    """Return the 95 % confidence interval of the mean of `batch - full`."""
    if len(batch) < 2:
        return None
    differences = batch - full
    mean = float(differences.mean())
    if np.abs(differences - mean).max() <= 1e-14 * abs(mean):  # Equal up to rounding: SciPy gives no interval.
        return mean, mean
    from scipy.stats import ttest_rel  # SciPy takes a second to import and is only needed with several seeds.

    interval = ttest_rel(batch, full).confidence_interval(0.95)
    return float(interval.low), float(interval.high)
