"""Averages runs that differ only in seed and split, which are repetitions of one setting."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from harness.analysis.confirmed import confirmed_if_any, without_confirmed_trials
from harness.config.naming import REPLICATES, setting_name
from harness.tracking.frames import Sweep
from harness.tracking.ranking import LOST, group_numbers, lost, objective

COUNT, SPREAD = "repetitions", "spread"
"""Columns of an averaged table: the number of runs, and the standard deviation of the deciding metric."""


def averaged(sweep: Sweep) -> Sweep:
    """Return the sweep with one row for each setting, with the mean metrics of its finished runs.

    A sweep without repeated settings is returned unchanged. If no run of a setting has finished, its first run
    represents it. Trials of a search that were trained again do not count; see `harness.analysis.confirmed`.
    """
    sweep = without_confirmed_trials(sweep)
    runs = sweep.runs
    repeated = [key for key in REPLICATES if key in runs and runs[key].nunique() > 1]
    groups = group_numbers(runs, sweep.params)
    is_finished, lacks = runs["status"] == "FINISHED", lost(runs, sweep.params)
    if not repeated or (groups[is_finished].is_unique and not lacks[is_finished].any()):
        return sweep
    metric = objective(runs).metric
    metrics = [key for key in runs.select_dtypes("number") if key not in sweep.params]
    rows: list[dict[Any, Any]] = []
    for number in groups.unique():
        members = runs[groups == number]
        some = members[members["status"] == "FINISHED"]
        row = (some if len(some) else members).iloc[0].to_dict()
        if len(some):
            row |= some[metrics].mean().to_dict()
            varies = len(some) > 1 and metric in some and some[metric].nunique() > 1
            row |= {LOST: lacks[members.index[0]], COUNT: len(some), SPREAD: some[metric].std() if varies else None}
        row["name"] = setting_name(row["name"] or "")
        rows.append(row)
    frame = pd.DataFrame(rows, columns=[*runs.columns, COUNT, SPREAD, LOST]).drop(columns=repeated)
    params = tuple(key for key in sweep.params if key not in repeated)
    return replace(sweep, runs=frame.astype({"chunksize": runs["chunksize"].dtype}), params=params)


def best_of_each(sweep: Sweep, kind: Callable[[Any], str]) -> pd.DataFrame:
    """Return the best finished run of each `kind`; repeated settings are ranked by their mean.

    A repeated setting is represented by its first repetition; settings that lost repetitions come last.
    """
    found, sweep = objective(sweep.runs), without_confirmed_trials(sweep)
    finished = found.finished(sweep.runs.assign(**{LOST: lost(sweep.runs, sweep.params)}))
    if finished.empty:
        return finished
    finished = confirmed_if_any(finished, finished.apply(kind, axis=1))
    costs = (found.sign * finished[found.metric]).groupby(group_numbers(finished, sweep.params)).transform("mean")
    order = pd.DataFrame({"lacks": finished[LOST] > 0, "cost": costs}).sort_values(["lacks", "cost"], kind="stable")
    places = pd.Series(range(len(order)), index=order.index).reindex(finished.index)
    return finished.loc[places.groupby(finished.apply(kind, axis=1)).idxmin()]
