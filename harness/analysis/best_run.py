"""Finds the best run of a store, for commands that take `best` in place of an id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from harness.analysis.objective import objective
from harness.analysis.tables import ranked
from harness.errors import require
from harness.tracking.frames import datasets, row, typed

if TYPE_CHECKING:
    from mlflow.entities import Run

    from harness.tracking.reader import RunReader

BEST = "best"
"""Stands for the best run of the newest sweep; without a sweep, of the newest runs on the same data and target."""

_NEWEST = 1000


def run_ids(records: RunReader, words: Sequence[str]) -> list[str]:
    """Return `words` with `best` replaced by the id of the best run.

    Raises:
        ConfigError: No run has finished.
    """
    return [best_run(records) if word == BEST else word for word in words]


def best_run(records: RunReader) -> str:
    """Return the id of the run that `best` stands for; raises `ConfigError` if no run has finished."""
    sweeps = records.newest_sweeps(1)
    runs = records.named([sweeps[0].info.run_id])[0] if sweeps else _like_the_last(records.newest_runs(_NEWEST))
    found = best_of(runs)
    require(bool(found), "No finished run is the best. `harness runs` lists all runs.")
    return found


def best_of(runs: Sequence[Run]) -> str:
    """Return the id of the best finished run, or an empty string."""
    if not runs:
        return ""
    frame = typed(pd.DataFrame([row(run) for run in runs]))
    first = ranked(frame)[0]
    return first["run_id"] if objective(frame).decides(first) else ""


def _like_the_last(runs: Sequence[Run]) -> list[Run]:
    def kind(run: Run) -> tuple[object, ...]:
        return run.data.params.get("data.target"), [data["digest"] for data in datasets([run])]

    return [run for run in runs if kind(run) == kind(runs[0])]
