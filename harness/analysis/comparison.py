"""Full-sample runs against batch runs: at the same epochs, rows, updates and time, and on the way to a target."""

# What pandas says of its own types is wider than what comes of these calls.
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.config.naming import varying
from harness.tracking.frames import Sweep

AXES = ("epochs", "rows", "updates", "time")
_COLUMNS = {"epochs": "epoch", "rows": "rows", "updates": "updates", "time": "seconds"}
SHARED = "the runs shared a scan, whose time is no run's own"
APART = "no point in common: the batch run's first epoch takes more updates than the full-sample run's last"
_ARRIVES = ("epoch", "updates", "seconds")
_SPACE = ("loss", "data.scaling", "data.log_columns", "data.target")

Curve = Mapping[str, np.ndarray]
Point = Mapping[str, float]
Setting = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Comparison:
    """A full-sample run against the best of the batch runs with the same settings, means over seeds.

    Attributes:
        setting: What both have in common, of what sets the runs apart: learning rate, epochs, and so on.
        axis: What they are given the same of: `epochs`, `rows`, `updates` or `time`.
        at: How much of it; None if they cannot be compared.
        reason: Why they cannot.
        chunksize: Of the batch run.
        full: The full-sample run's loss there.
        batch: The batch run's.
        better: `full`, `batch` or `equal`; empty if they cannot be compared.
        seeds: How many pairs of runs with the same seed the means are over.
        full_std: Sample standard deviation over seeds; None of one.
        batch_std: Likewise.
        difference: Mean of `batch - full` over the pairs.
        interval: 95 % confidence interval of the mean difference: Student's t for paired samples, mean plus and minus
            t(0.975, n - 1) times s / sqrt(n) (Student, 1908).
        full_updates: The full-sample run's updates there.
        batch_updates: The batch run's.
        full_memory_mb: Of the rows of an update.
        batch_memory_mb: Likewise.
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


@dataclass(frozen=True)
class Arrival:
    """When the runs of one chunksize and setting come to a target, means over the seeds that do.

    Attributes:
        chunksize: None for the full sample.
        setting: Learning rate, and what else sets the runs apart, epochs not among them.
        reached: Seeds that come to it.
        seeds: All seeds.
        epochs: Until the first epoch's end at which the target is met.
        updates: Likewise.
        seconds: Likewise, of the scan.
        shared_by: Lanes that shared the scan.
    """

    chunksize: int | None
    setting: dict[str, Any]
    reached: int
    seeds: int
    epochs: float | None
    updates: float | None
    seconds: float | None
    shared_by: float | None


def objective(runs: pd.DataFrame) -> str:
    """Return the metric that runs are compared by.

    It is `val/loss`, or `train/loss` without a holdout, or `val/rmse` where losses are of several kinds or spaces.
    """
    if "val/loss" not in runs or not bool(runs["val/loss"].notna().any()):
        return "train/loss"
    unlike = any(runs[key].nunique() > 1 for key in _SPACE if key in runs)
    return "val/rmse" if unlike and "val/rmse" in runs else "val/loss"


def settings(sweep: Sweep) -> list[str]:
    """Return the params that set the runs of `sweep` apart, chunksize first."""
    rows = sweep.runs[list(sweep.params)].to_dict("records")
    return varying([{key: str(value) for key, value in row.items() if pd.notna(value)} for row in rows])


def comparisons(sweep: Sweep) -> list[Comparison]:
    """Compare each full-sample run with the batch runs that differ from it in chunksize only.

    Only finished runs are compared, at points that both have: on all axes but time, the last one.

    Returns:
        A comparison for each setting that has both, and each axis; settings in order.
    """
    key, apart = objective(sweep.runs), [name for name in settings(sweep) if name not in ("chunksize", "seed")]
    groups: dict[Setting, dict[int | None, dict[Any, Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for run in _finished(sweep):
        groups[_setting(run, apart)][_size(run)][run.get("seed")] = run
    curves = _curves(sweep, key)
    found = []
    for setting, sizes in sorted(groups.items(), key=lambda item: [_sortable(value) for _, value in item[0]]):
        fulls = sizes.pop(None, None)
        if fulls and sizes:
            for axis in AXES:
                rivals = [_compare(dict(setting), axis, fulls, size, runs, curves) for size, runs in sizes.items()]
                comparable = [rival for rival in rivals if rival.better]
                found.append(min(comparable, key=lambda rival: rival.batch or 0.0) if comparable else rivals[0])
    return found


def arrivals(sweep: Sweep, target: float) -> list[Arrival]:
    """Say when the runs of each chunksize and setting first come to `target` or below, the fewest rows first."""
    key, apart = (
        objective(sweep.runs),
        [name for name in settings(sweep) if name not in ("chunksize", "seed", "epochs")],
    )
    groups: dict[tuple[int | None, Setting], dict[Any, Mapping[str, Any]]] = defaultdict(dict)
    for run in _finished(sweep):
        lane = groups[_size(run), _setting(run, apart)]
        if run.get("seed") not in lane or run["epochs"] > lane[run.get("seed")]["epochs"]:
            lane[run.get("seed")] = run  # Shorter runs are its beginning.
    curves = _curves(sweep, key)
    found = []
    for (size, setting), runs in groups.items():
        places = [(curve, np.flatnonzero(curve["value"] <= target)) for curve in _of(runs.values(), curves)]
        met = [_point(curve, int(place[0])) for curve, place in places if place.size]
        means = [float(np.mean([point[axis] for point in met])) if met else None for axis in _ARRIVES]
        shared_by = max((run.get("time/shared_by", math.nan) for run in runs.values()), default=math.nan)
        found.append(Arrival(size, dict(setting), len(met), len(runs), *means, _or_none(shared_by)))
    return sorted(found, key=lambda arrival: (arrival.epochs is None, arrival.epochs, arrival.updates))


def _compare(
    setting: dict[str, Any],
    axis: str,
    fulls: Mapping[Any, Mapping[str, Any]],
    size: int | None,
    batches: Mapping[Any, Mapping[str, Any]],
    curves: Mapping[str, Curve],
) -> Comparison:
    pairs = [(fulls[seed], batches[seed]) for seed in fulls if seed in batches]
    if axis == "time" and any(run.get("time/shared_by", 1) != 1 for pair in pairs for run in pair):
        return Comparison(setting, axis, reason=SHARED)
    meetings = [_meet(axis, *_of(pair, curves)) for pair in pairs]
    met = [meeting for meeting in meetings if meeting is not None]
    if not met or (axis != "time" and len({at for _, _, at in met}) > 1):
        return Comparison(setting, axis, reason=APART if axis == "updates" else "no point in common")
    full, batch = (np.array([meeting[side]["value"] for meeting in met]) for side in (0, 1))
    difference = float((batch - full).mean())
    return Comparison(
        setting,
        axis,
        at=float(np.mean([at for _, _, at in met])),
        chunksize=size,
        full=float(full.mean()),
        batch=float(batch.mean()),
        better="batch" if difference < 0 else "full" if difference > 0 else "equal",
        seeds=len(met),
        full_std=_std(full),
        batch_std=_std(batch),
        difference=difference,
        interval=_interval(batch - full),
        full_updates=_or_none(float(np.mean([meeting[0]["updates"] for meeting in met]))),
        batch_updates=_or_none(float(np.mean([meeting[1]["updates"] for meeting in met]))),
        full_memory_mb=_or_none(pairs[0][0].get("memory/update_mb", math.nan)),
        batch_memory_mb=_or_none(pairs[0][1].get("memory/update_mb", math.nan)),
    )


def _meet(axis: str, full: Curve, batch: Curve) -> tuple[Point, Point, float] | None:
    """Return the points of both curves that were given the same of `axis`, and how much that is, if there are such."""
    sides = [curve[_COLUMNS[axis]] for curve in (full, batch)]
    if axis == "time":
        if not all(side.size for side in sides):
            return None
        at = min(side[-1] for side in sides)
        places = [int(np.searchsorted(side, at, side="right")) - 1 for side in sides]
        if min(places) < 0:
            return None
    else:
        common, *found = np.intersect1d(*sides, return_indices=True)
        if not common.size or not np.isfinite(common[-1]):
            return None
        at, places = common[-1], [int(side[-1]) for side in found]
    return _point(full, places[0]), _point(batch, places[1]), float(at)


def _point(curve: Curve, place: int) -> Point:
    return {name: float(values[place]) for name, values in curve.items()}


def _interval(differences: np.ndarray) -> tuple[float, float] | None:
    if len(differences) < 2:
        return None
    from scipy.special import stdtrit

    reach = stdtrit(len(differences) - 1, 0.975) * differences.std(ddof=1) / math.sqrt(len(differences))
    return float(differences.mean() - reach), float(differences.mean() + reach)


def _std(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _finished(sweep: Sweep) -> list[dict[str, Any]]:
    rows: Any = sweep.runs[sweep.runs["status"] == "FINISHED"].to_dict("records")
    return rows


def _curves(sweep: Sweep, key: str) -> dict[str, Curve]:
    curves = sweep.curves[sweep.curves["metric"] == key].sort_values(["run_id", "step"])
    names = ["value", *_COLUMNS.values()]
    ids, columns = curves["run_id"].to_numpy(), {name: curves[name].to_numpy(float) for name in names}
    edges = np.flatnonzero(ids[1:] != ids[:-1]) + 1 if len(ids) else []
    pieces = {name: np.split(values, edges) for name, values in columns.items()}
    starts = [0, *edges] if len(ids) else []
    return {str(ids[start]): {name: pieces[name][place] for name in names} for place, start in enumerate(starts)}


def _of(runs: Iterable[Mapping[str, Any]], curves: Mapping[str, Curve]) -> list[Curve]:
    nothing = dict.fromkeys(["value", *_COLUMNS.values()], np.zeros(0))
    return [curves.get(run["run_id"], nothing) for run in runs]


def _size(run: Mapping[str, Any]) -> int | None:
    return None if run["sample"] == "full" else int(run["chunksize"])


def _setting(run: Mapping[str, Any], keys: Sequence[str]) -> Setting:
    return tuple((key, run[key]) for key in keys if pd.notna(run.get(key)))


def _sortable(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
