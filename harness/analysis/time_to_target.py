"""Computes how long the runs of a sweep take to reach a target."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.comparison import curves_of, known, point
from harness.analysis.confirmed import without_confirmed_trials
from harness.analysis.settings import Setting, chunksize, finished_runs, setting, settings
from harness.config.naming import REPLICATES
from harness.tracking.frames import Sweep
from harness.tracking.ranking import Run, has, objective


@dataclass(frozen=True)
class TimeToTarget:
    """When the runs with one chunksize and setting first reach a target; values are means over the seeds that reach it.

    Attributes:
        chunksize: None for the full sample.
        setting: The learning rate and all other settings that vary, except epochs.
        reached: Number of seeds that reach the target.
        epochs: Epochs until then; None if no seed reaches the target. The same goes for `updates` and the scan's
            `seconds`.
        shared_by: Number of lanes that shared the scan.
        is_alone: Whether `seconds` is the time of the updates, timed alone after training, instead of the scan's time.
    """

    chunksize: int | None
    setting: dict[str, Any]
    reached: int
    seeds: int
    epochs: float | None
    updates: float | None
    seconds: float | None
    shared_by: float | None
    is_alone: bool = False


def times_to_target(sweep: Sweep, target: float) -> list[TimeToTarget]:
    """Return when the runs with each chunksize and setting first reach `target`, the fewest epochs first."""
    metric, sign = objective(sweep.runs)
    sweep = without_confirmed_trials(sweep)
    keys = [key for key in settings(sweep) if key not in ("chunksize", "epochs", *REPLICATES)]
    groups: dict[tuple[str, Setting], dict[Any, Run]] = defaultdict(dict)
    for run in finished_runs(sweep):
        seeds = groups[chunksize(run), setting(run, keys)]
        replicate = tuple(map(run.get, REPLICATES))
        longest = seeds.get(replicate)  # The epochs of shorter runs are its first epochs.
        if longest is None or run["epochs"] > longest["epochs"]:
            seeds[replicate] = run
    curves = curves_of(sweep, metric)
    found = []
    for (size, shared), seeds in groups.items():
        each = [curves[run["run_id"]] for run in seeds.values()]
        indices = [np.flatnonzero(sign * curve["value"] <= sign * target) for curve in each]
        points = [point(curve, int(index[0])) for curve, index in zip(each, indices, strict=True) if index.size]
        means = pd.DataFrame(points, columns=["epoch", "updates", "seconds"]).mean()
        shared_by = known(max(run.get("time/shared_by", math.nan) for run in seeds.values()))
        rows = None if size == "full" else int(size)
        epochs, updates, seconds = map(known, means)
        is_alone = (shared_by or 1) > 1 and all(has(run, "time/alone_s") for run in seeds.values())
        if is_alone and updates is not None:
            first = next(iter(seeds.values()))
            seconds = updates * first["time/alone_s"] / first["updates"]
        times = (epochs, updates, seconds, shared_by, is_alone)
        found.append(TimeToTarget(rows, dict(shared), len(points), len(seeds), *times))
    return sorted(found, key=lambda time: (time.epochs is None, time.epochs, time.updates))
