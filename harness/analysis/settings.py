"""The settings in which runs differ."""

# pandas declares wider types than these calls return.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.config.naming import PRECISION, varying
from harness.tracking.frames import Sweep
from harness.tracking.ranking import Run

_MAY_BE_NULL = ("data.weight", "data.class_weight", "stopping.", PRECISION)

Setting = tuple[tuple[str, Any], ...]


def settings(sweep: Sweep) -> list[str]:
    """Return the params in which the runs of `sweep` differ, chunksize first.

    Runs without a param are ignored for that param, unless it may be null: null is not recorded.
    """
    runs = sweep.runs[list(sweep.params)]
    rows = runs.loc[:, runs.nunique(dropna=False) > 1].to_dict("records")
    return varying(
        [{key: str(row[key]) for key in row if pd.notna(row[key]) or key.startswith(_MAY_BE_NULL)} for row in rows]
    )


def setting(run: Run, keys: Sequence[str]) -> Setting:
    """Return the values of `keys` in `run`."""
    return tuple((key, run[key]) for key in keys if pd.notna(run.get(key)))


def finished_runs(sweep: Sweep) -> list[Run]:
    """Return the finished runs."""
    return [run for run in sweep.rows if run["status"] == "FINISHED"]


def chunksize(run: Any) -> str:
    """Return a run's chunksize as written on the command line: `full` or a number."""
    return "full" if run["sample"] == "full" else str(int(run["chunksize"]))
