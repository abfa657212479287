"""Compares each chunksize with the full sample after the same epochs, rows, updates and time."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.confirmed import is_trial
from harness.analysis.intervals import Differences, intervals
from harness.analysis.settings import Setting, chunksize, finished_runs, setting, settings
from harness.config.metrics import BY_UPDATE
from harness.config.naming import REPLICATES, SPLITS
from harness.tracking.frames import Sweep
from harness.tracking.ranking import Run, has, objective

SHARED_SCAN = (
    "Training times cannot be compared: the runs shared a scan, and their updates were not timed alone. Train with "
    "runtime.time_alone=true, or with hydra/launcher=basic, which trains each run on its own."
)
NO_COMMON_UPDATES = (
    "The runs cannot be compared at the same number of updates: batch runs are first evaluated after more updates than "
    "the full-sample run makes. Set tracking.early_updates=true to evaluate them earlier."
)
NO_COMMON_TIME = (
    "The runs cannot be compared at the same training time: one of them had already ended when the other was first "
    "evaluated."
)
NOTHING_IN_COMMON = "The runs cannot be compared: their curves have no point in common."
_REASONS = {"updates": NO_COMMON_UPDATES, "time": NO_COMMON_TIME}
AXES = {"epochs": "epoch", "rows": "rows", "updates": "updates", "time": "seconds"}
"""The quantities at which two runs can be compared, each with its column in `Sweep.curves`."""

Replicate = tuple[Any, ...]
"""Values of `REPLICATES`."""
Curve = Mapping[str, np.ndarray]
Point = Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """Full-sample runs and batch runs of one chunksize with the same settings; values are means over seeds and splits.

    Attributes:
        setting: The settings that both share: learning rate, epochs, ...
        axis: The quantity at which both are compared: `epochs`, `rows`, `updates` or `time`.
        chunksize: Rows of the batch runs' chunks.
        at: The value of that quantity at which they are compared; None if the runs cannot be compared.
        reason: Why the runs cannot be compared.
        is_alone: Whether times are computed from the time of one update, measured alone; otherwise the runs were
            trained alone.
        full: The deciding metric of the full-sample runs; `batch` is that of the batch runs.
        better: `full`, `batch` or `equal`; empty if the runs cannot be compared.
        seeds: Number of pairs of runs with equal seed and split.
        varies: False if there are several pairs, all bit-identical.
        full_std: Sample standard deviation over pairs; None for a single pair, or if nothing varies.
        difference: Mean of `batch - full` over the pairs.
        interval: 95% confidence interval of the mean difference, adjusted for the number of comparisons; see
            `harness.analysis.intervals`.
        adjusted_for: Number of intervals that this one is adjusted for, itself included.
        full_updates: Updates at the point of comparison.
        full_memory_mb: Memory needed for one update.
    """

    setting: dict[str, Any]
    axis: str
    chunksize: int
    at: float | None = None
    reason: str = ""
    is_alone: bool = False
    full: float | None = None
    batch: float | None = None
    better: str = ""
    seeds: int = 0
    varies: bool = True
    full_std: float | None = None
    batch_std: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    adjusted_for: int = 0
    full_updates: float | None = None
    batch_updates: float | None = None
    full_memory_mb: float | None = None
    batch_memory_mb: float | None = None


def compare_full_to_batch(sweep: Sweep) -> list[Comparison]:
    """Compare full-sample runs with the batch runs of each chunksize that differ from them only in chunksize.

    Only finished runs are compared, at the last point that both have. There is one comparison per setting, chunksize
    and axis. Runs that differ only in seed and split are averaged in pairs; trials of a search are ignored if they were
    confirmed.
    """
    metric, sign = objective(sweep.runs)
    keys = [key for key in settings(sweep) if key not in ("chunksize", *REPLICATES)]
    groups: dict[Setting, dict[str, dict[Replicate, Run]]] = defaultdict(lambda: defaultdict(dict))
    for run in finished_runs(sweep):
        groups[setting(run, keys)][chunksize(run)][tuple(map(run.get, REPLICATES))] = run
    curves = _Curves(sweep, metric)
    found: list[tuple[Comparison, Differences]] = []
    for shared, sizes in sorted(groups.items(), key=lambda item: [(isinstance(v, str), v) for _, v in item[0]]):
        full = sizes.pop("full", {})
        for size in sorted(sizes, key=int, reverse=True) if full else ():
            common = [key for key in full if key in sizes[size]]
            confirmed = [key for key in common if not is_trial(sweep, key[0])]
            pairs = [(full[key], sizes[size][key]) for key in confirmed or common]
            found += [_compare(Comparison(dict(shared), axis, int(size)), pairs, curves, sign) for axis in AXES]
    return _with_intervals(found)


class _Curves:
    """The curves of a sweep's runs: by epoch, and with the evaluations within epochs."""

    def __init__(self, sweep: Sweep, metric: str) -> None:
        self._by_epoch = curves_of(sweep, metric)
        self._by_update = curves_of(sweep, f"{BY_UPDATE}{metric}")
        self._joined: dict[str, Curve] = {}

    def of(self, axis: str, pairs: Sequence[tuple[Run, Run]]) -> tuple[list[list[Curve]], bool]:
        """Return both curves of each pair, and whether their times come from updates that were timed alone.

        All pairs use the same kind of times; pairs without such times are left out.
        """
        if axis in ("epochs", "rows"):
            return [[self._by_epoch[run["run_id"]] for run in pair] for pair in pairs], False
        if axis == "updates":
            return [[self._fine(run, math.nan) for run in pair] for pair in pairs], False
        trained_alone = [pair for pair in pairs if all(run.get("time/shared_by", 1) == 1 for run in pair)]
        timed_alone = [pair for pair in pairs if all(has(run, "time/alone_s") for run in pair)]
        if len(timed_alone) > len(trained_alone):
            return [
                [self._fine(run, run["time/alone_s"] / run["updates"]) for run in pair] for pair in timed_alone
            ], True
        return [[self._by_epoch[run["run_id"]] for run in pair] for pair in trained_alone], False

    def _fine(self, run: Run, seconds: float) -> Curve:
        """Return a run's curve with the points within epochs, and with times based on `seconds` per update."""
        run_id = run["run_id"]
        if run_id not in self._joined:
            ends, early = self._by_epoch[run_id], self._by_update[run_id]
            new = ~np.isin(early["updates"], ends["updates"])
            joined = {name: np.concatenate([early[name][new], values]) for name, values in ends.items()}
            order = np.argsort(joined["updates"], kind="stable")
            self._joined[run_id] = {name: values[order] for name, values in joined.items()}
        curve = self._joined[run_id]
        return {**curve, "seconds": curve["updates"] * seconds}


def curves_of(sweep: Sweep, metric: str) -> Mapping[str, Curve]:
    """Return the curve of each run by run id; runs without one get an empty curve."""
    names = ["value", *AXES.values()]
    curves = {run_id: dict.fromkeys(names, np.zeros(0)) for run_id in sweep.runs["run_id"]}
    points = sweep.curves[sweep.curves["metric"] == metric].sort_values(["run_id", "step"])
    run_ids, starts = np.unique(points["run_id"].to_numpy(str), return_index=True)
    pieces = np.split(points[names].to_numpy(float).T, starts[1:], axis=1)
    return curves | {
        str(run_id): dict(zip(names, piece, strict=True)) for run_id, piece in zip(run_ids, pieces, strict=False)
    }


def point(curve: Curve, index: int) -> Point:
    """Return the point of `curve` at `index`."""
    return {name: float(values[index]) for name, values in curve.items()}


def known(value: Any) -> float | None:
    """Return None for NaN."""
    return None if pd.isna(value) else float(value)


def _mean(values: Any) -> float:
    return float(values[0] if len(values) == 1 else np.mean(values))  # `np.mean` takes 5 us, even for a single value.


def _compare(
    blank: Comparison, pairs: Sequence[tuple[Run, Run]], curves: _Curves, sign: int
) -> tuple[Comparison, Differences]:
    """Return a comparison without its interval, and the differences from which the interval is computed."""
    axis, nothing = blank.axis, Differences(np.zeros(0))
    chosen, is_alone = curves.of(axis, pairs)
    if pairs and not chosen:
        return replace(blank, reason=SHARED_SCAN), nothing
    points = [_last_common_points(axis, *each) for each in chosen]
    common = [each for each in points if each is not None]
    if not common or (axis != "time" and len({at for _, _, at in common}) > 1):
        return replace(blank, reason=_REASONS.get(axis, NOTHING_IN_COMMON)), nothing
    full, batch = (np.array([each[side]["value"] for each in common]) for side in (0, 1))
    differences = Differences(batch - full, _overlap([pair[0] for pair in pairs]))
    varies = len(common) == 1 or bool((full != full[0]).any() or (batch != batch[0]).any())
    comparison = replace(
        blank,
        at=_mean([at for _, _, at in common]),
        is_alone=is_alone,
        full=_mean(full),
        batch=_mean(batch),
        better="equal" if differences.mean == 0 else "batch" if sign * differences.mean < 0 else "full",
        seeds=len(common),
        varies=varies,
        full_std=float(full.std(ddof=1)) if len(full) > 1 and varies else None,
        batch_std=float(batch.std(ddof=1)) if len(batch) > 1 and varies else None,
        difference=differences.mean,
        full_updates=known(_mean([full["updates"] for full, _, _ in common])),
        batch_updates=known(_mean([batch["updates"] for _, batch, _ in common])),
        full_memory_mb=known(pairs[0][0].get("memory/update_mb", math.nan)),
        batch_memory_mb=known(pairs[0][1].get("memory/update_mb", math.nan)),
    )
    return comparison, differences


def _overlap(runs: Sequence[Run]) -> float:
    """Return the rows held out divided by those trained on, if the runs have different splits; else 0."""
    if len({tuple(map(run.get, SPLITS)) for run in runs}) < 2:
        return 0.0
    holdout, test = (float(runs[0].get(key) or 0.0) for key in ("data.holdout", "data.test"))
    return holdout / (1 - holdout - test)


def _with_intervals(found: Sequence[tuple[Comparison, Differences]]) -> list[Comparison]:
    """Return the comparisons with their intervals, which are adjusted for the number of those on the same axis."""
    comparisons = [comparison for comparison, _ in found]
    for axis in AXES:
        indices = [index for index, (each, differences) in enumerate(found) if each.axis == axis and differences.error]
        if indices:
            for index, interval in zip(indices, intervals([found[index][1] for index in indices]), strict=True):
                comparisons[index] = replace(comparisons[index], interval=interval, adjusted_for=len(indices))
    return comparisons


def _last_common_points(axis: str, full: Curve, batch: Curve) -> tuple[Point, Point, float] | None:
    """Return the last points at which both curves have the same value of `axis`, and that value, or None."""
    sides = [curve[AXES[axis]] for curve in (full, batch)]
    if axis == "time":  # Epochs end at different times, so take the last point of each run that was reached by then.
        at = min((side[-1] for side in sides if side.size), default=math.nan)
        indices = [int(np.searchsorted(side, at, side="right")) - 1 for side in sides]
        if min(indices) < 0:
            return None
    else:
        full_side, batch_side = (side.tolist() for side in sides)  # For a few points, lists are faster than arrays.
        at = max({*full_side} & {*batch_side}, default=math.nan)
        if not math.isfinite(at):
            return None
        indices = [full_side.index(at), batch_side.index(at)]
    return point(full, indices[0]), point(batch, indices[1]), float(at)
