"""The metric by which runs are compared, and the settings in which they differ."""

# pandas declares wider types than these calls return.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness.config.metrics import comparable_metric, deciding_metric, sign
from harness.config.naming import varying
from harness.tracking.frames import Sweep

_LOSS_SPACE = re.compile(
    r"loss|objective\.(delta|label_smoothing)|data\.(scaling|log_columns|target|weight|class_weight(\..*)?)"
)
"""Losses of runs that differ in one of these params are not comparable."""


_MAY_BE_NULL = ("data.weight", "data.class_weight", "stopping.")


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

    This is the runs' `objective.metric` if they share one; else `val/loss`, or `train/loss` without a holdout, or a
    metric that can be compared (such as `val/rmse`) if the runs' losses cannot.
    """
    metric = _chosen(runs) or deciding_metric(held_out=_has_values(runs, deciding_metric(held_out=True)))
    known = [key for key in runs if _has_values(runs, key)]
    if not _chosen(runs) and metric == deciding_metric(held_out=True) and comparable_metric(known) in known:
        spaces = runs[[key for key in runs if _LOSS_SPACE.fullmatch(key)]]
        if (spaces.nunique() > 1).any() or (spaces.notna().any() & spaces.isna().any()).any():
            metric = comparable_metric(known)
    return Objective(metric, sign(metric))


def _chosen(runs: pd.DataFrame) -> str:
    """Return the configured metric, if all runs that name one name the same; a run that was reused may name none."""
    names = runs["objective.metric"].dropna().unique() if "objective.metric" in runs else []
    return str(names[0]) if len(names) == 1 and _has_values(runs, names[0]) else ""


def _has_values(runs: pd.DataFrame, key: str) -> bool:
    return key in runs and bool(runs[key].notna().any())


def settings(sweep: Sweep) -> list[str]:
    """Return the params in which the runs of `sweep` differ, chunksize first.

    A run without a param is ignored for it, unless the param may be null, in which case it is not recorded.
    """
    rows = sweep.runs[list(sweep.params)].to_dict("records")
    return varying(
        [{key: str(row[key]) for key in row if pd.notna(row[key]) or key.startswith(_MAY_BE_NULL)} for row in rows]
    )


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
