"""Averages runs that differ only in seed and split, which are repetitions of one setting."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from harness.analysis.objective import objective
from harness.config.naming import REPLICATES
from harness.tracking.frames import Sweep

COUNT, SPREAD = "repetitions", "spread"
"""Columns of an averaged table: the number of runs, and the standard deviation of the deciding metric."""


def group_numbers(runs: pd.DataFrame, params: tuple[str, ...]) -> pd.Series:
    """Return a number for each run, which is the same for runs that differ at most in seed and split."""
    keys = [key for key in params if key not in REPLICATES and not key.startswith(("tracking.", "runtime."))]
    texts = ["\n".join(map(str, values)) for values in runs[["sample", *keys]].itertuples(index=False)]
    return pd.Series(pd.factorize(pd.Series(texts, dtype=str))[0], index=runs.index)


def averaged(sweep: Sweep) -> Sweep:
    """Return the sweep with one row for each setting, which has the means of its finished runs' metrics.

    A sweep in which no setting is repeated is returned as it is. If no run of a setting has finished, its first run
    stands for it.
    """
    runs = sweep.runs
    repeated = [key for key in REPLICATES if key in runs and runs[key].nunique() > 1]
    groups = group_numbers(runs, sweep.params)
    finished = groups[runs["status"] == "FINISHED"]
    if not repeated or finished.is_unique:
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
            row |= {COUNT: len(some), SPREAD: some[metric].std() if varies else None}
        name = row["name"] or ""
        row["name"] = " ".join(word for word in name.split(" ") if not word.startswith(_NAMES))
        rows.append(row)
    frame = pd.DataFrame(rows, columns=[*runs.columns, COUNT, SPREAD]).drop(columns=repeated)
    params = tuple(key for key in sweep.params if key not in repeated)
    return replace(sweep, runs=frame.astype({"chunksize": runs["chunksize"].dtype}), params=params)


_NAMES = tuple(f"{key.rpartition('.')[-1]}=" for key in REPLICATES)
