"""The metric by which runs are compared, and their ranking by it."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any, NamedTuple

import pandas as pd

from harness.config.metrics import comparable_metric, deciding_metric, sign
from harness.config.naming import PRECISION, REPLICATES
from harness.tracking.run_tags import METRIC, PRUNED

_LOSS_SPACE = re.compile(r"loss|objective\.(?!metric$).*|data\.(scaling|log_columns|target|weight|class_weight(\..*)?)")
"""Losses of runs that differ in one of these params are not comparable."""

_CHANGE_NOTHING = ("tracking.", "runtime.", METRIC)
"""Runs that differ only in these params have the same setting."""

LOST = "lost"
"""Column of settings: the number of repetitions that failed or were pruned."""

Run = dict[Any, Any]
"""A row of `Sweep.runs`."""


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


def objective(runs: pd.DataFrame) -> Objective:
    """Return the deciding metric for `runs`.

    This is the runs' `objective.metric` if they share one. Otherwise it is `val/loss`, `train/loss` without a holdout,
    or a metric such as `val/rmse` if the runs' losses cannot be compared.
    """
    metric = _chosen(runs) or deciding_metric(held_out=_has_values(runs, deciding_metric(held_out=True)))
    known = [key for key in runs if _has_values(runs, key)]
    if not _chosen(runs) and metric == deciding_metric(held_out=True) and comparable_metric(known) in known:
        spaces = runs[[key for key in runs if _LOSS_SPACE.fullmatch(key)]]
        if (spaces.nunique() > 1).any() or (spaces.notna().any() & spaces.isna().any()).any():
            metric = comparable_metric(known)
    return Objective(metric, sign(metric))


def _chosen(runs: pd.DataFrame) -> str:
    """Return the configured metric, if all runs that set one agree; a reused run may not set one."""
    names = runs[METRIC].dropna().unique() if METRIC in runs else []
    return str(names[0]) if len(names) == 1 and _has_values(runs, names[0]) else ""


def _has_values(runs: pd.DataFrame, key: str) -> bool:
    return key in runs and bool(runs[key].notna().any())


def ranked(runs: pd.DataFrame, params: tuple[str, ...] = ()) -> list[Run]:
    """Return the finished runs, best first, then all others.

    If `params` are given, runs that differ only in seed and split are grouped, and ordered by their mean. Settings that
    lost repetitions come after the others, since the mean over the remaining ones favors them.
    """
    found = objective(runs)
    rows = runs.to_dict("records")
    costs = [found.sign * run[found.metric] if found.decides(run) else math.inf for run in rows]
    lacks = (runs[LOST] if LOST in runs else lost(runs, params) if params else pd.Series(0, runs.index)) > 0
    groups = group_numbers(runs, params) if params else pd.Series(range(len(rows)), index=runs.index)
    means = (
        pd.Series(costs, index=runs.index, dtype=float).replace(math.inf, math.nan).groupby(groups).transform("mean")
    )
    order = sorted(
        range(len(rows)),
        key=lambda index: (costs[index] == math.inf, lacks.iloc[index], means.iloc[index], groups.iloc[index]),
    )
    return [rows[index] for index in order]


def group_numbers(runs: pd.DataFrame, params: tuple[str, ...]) -> pd.Series:
    """Return a number for each run; runs that differ only in seed and split have the same number."""
    keys = [key for key in params if key not in REPLICATES]
    keys = [key for key in keys if key == PRECISION or not key.startswith(_CHANGE_NOTHING)]
    texts = ["\n".join(map(str, values)) for values in runs[["sample", *keys]].itertuples(index=False)]
    return pd.Series(pd.factorize(pd.Series(texts, dtype=str))[0], index=runs.index)


def lost(runs: pd.DataFrame, params: tuple[str, ...]) -> pd.Series:
    """Return, for each run, how many repetitions of its setting failed or were pruned and did not finish later."""
    groups, nothing = group_numbers(runs, params), [None] * len(runs)
    repetitions = list(zip(groups, *(runs[key].map(str) for key in REPLICATES if key in runs), strict=True))
    finished: set[tuple[Any, ...]] = set()
    ended: set[tuple[Any, ...]] = set()
    for repetition, status, pruned in zip(repetitions, runs["status"], runs.get(PRUNED, nothing), strict=True):
        if status == "FINISHED":
            finished.add(repetition)
        elif status == "FAILED" or not pd.isna(pruned):
            ended.add(repetition)
    counts = Counter(group for group, *_ in ended - finished)
    return groups.map(lambda group: counts[group]).astype(int)


def has(run: Run, key: str) -> bool:
    """Return True if `run` has a value of `key`."""
    return run.get(key) is not None and not pd.isna(run[key])
