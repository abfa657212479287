"""The metric by which runs are compared, and the settings in which they differ."""

# pandas declares wider types than these calls return.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness.config.metrics import deciding_metric, greater_is_better
from harness.config.naming import varying
from harness.tracking.frames import Sweep

_LOSS_SPACE = ("loss", "data.scaling", "data.log_columns", "data.target")
"""Losses of runs that differ in one of these params are not comparable."""


Run = dict[Any, Any]
"""A row of `Sweep.runs`."""
Setting = tuple[tuple[str, Any], ...]


class Objective(NamedTuple):
    """The metric by which runs are compared; `sign` is 1 if smaller is better, else -1."""

    metric: str
    sign: int

    def decides(self, run: Run) -> bool:
        """Return True if `run` has finished and has this metric."""
        return run["status"] == "FINISHED" and has(run, self.metric)

    def finished(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Return the finished runs that have this metric."""
        return runs[(runs["status"] == "FINISHED") & runs[self.metric].notna()] if self.metric in runs else runs[:0]

    def best(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Return the best finished run of each chunksize."""
        finished = self.finished(runs)
        if finished.empty:
            return finished
        costs = self.sign * finished[self.metric]
        return finished.loc[costs.groupby(finished.apply(chunksize, axis=1)).idxmin()]


def objective(runs: pd.DataFrame) -> Objective:
    """Return the metric that decides between `runs`.

    This is `val/loss`, or `train/loss` without a holdout, or `val/rmse` if the runs' losses are not comparable.
    """
    metric = deciding_metric(held_out=True)
    if metric not in runs or not runs[metric].notna().any():
        metric = deciding_metric(held_out=False)
    elif "val/rmse" in runs and any(runs[key].nunique() > 1 for key in _LOSS_SPACE if key in runs):
        metric = "val/rmse"
    return Objective(metric, -1 if greater_is_better(metric) else 1)


def settings(sweep: Sweep) -> list[str]:
    """Return the params in which the runs of `sweep` differ, chunksize first."""
    rows = sweep.runs[list(sweep.params)].to_dict("records")
    return varying([{key: str(value) for key, value in row.items() if pd.notna(value)} for row in rows])


def setting(run: Run, keys: Sequence[str]) -> Setting:
    """Return the values of `keys` that `run` has."""
    return tuple((key, run[key]) for key in keys if pd.notna(run.get(key)))


def finished_runs(sweep: Sweep) -> list[Run]:
    """Return the finished runs."""
    return sweep.runs[sweep.runs["status"] == "FINISHED"].to_dict("records")


def has(run: Run, key: str) -> bool:
    """Return True if `run` has a value of `key`."""
    return run.get(key) is not None and not pd.isna(run[key])


def chunksize(run: Any) -> str:
    """Return a run's chunksize as written on the command line: `full` or a number."""
    return "full" if run["sample"] == "full" else str(int(run["chunksize"]))
