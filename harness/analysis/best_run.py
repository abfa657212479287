"""Finds the best run in a store, for commands that accept `best` instead of an id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from harness.analysis.confirmed import confirmed_if_any, without_confirmed_trials
from harness.config.naming import SPLITS
from harness.errors import require
from harness.tracking.frames import Sweep, datasets, frame_of
from harness.tracking.ranking import LOST, lost, objective, ranked

if TYPE_CHECKING:
    from mlflow.entities import Run

    from harness.tracking.reader import RunReader

BEST = "best"
"""The best run of the newest sweep or, without sweeps, of the newest runs on the same data, target and split."""

_NEWEST = 1000


def run_ids(records: RunReader, words: Sequence[str]) -> list[str]:
    """Return `words` with `best` replaced by the id of the best run.

    Raises:
        ConfigError: No run has finished.
    """
    return [best_run(records) if word == BEST else word for word in words]


def best_run(records: RunReader) -> str:
    """Return the id of the run that `best` refers to; raises `ConfigError` if no run has finished."""
    sweeps = records.newest_sweeps(1)
    runs = records.named([sweeps[0].info.run_id])[0] if sweeps else _like_the_last(records.newest_runs(_NEWEST))
    found = best_of(runs, sweeps)
    require(
        bool(found),
        "There is no best run: no run with the deciding metric has finished. `harness runs` lists all runs.",
    )
    return found


def best_of(runs: Sequence[Run], sweeps: Sequence[Run] = ()) -> str:
    """Return the id of the run that represents the best setting, or an empty string.

    Settings are ranked by the mean of their runs; those that a search has confirmed come first, and those with a failed
    run come last. A setting is represented by the run whose model was logged, or else by the run with the lowest seed.
    Runs with different splits are not ranked against each other: only the first split counts, whose best model was
    logged.

    Args:
        runs: All runs.
        sweeps: The summary run, if the runs belong to a sweep.
    """
    finished = [run for run in runs if run.info.status == "FINISHED"]
    with_model = [run for run in finished if run.outputs and run.outputs.model_outputs]
    if len({_split(run) for run in finished}) > 1:
        split = _split((with_model or finished)[0])
        finished = [run for run in with_model or finished if _split(run) == split]
        runs = [run for run in runs if _split(run) == split]
    # The first run of a setting represents it.
    models = {run.info.run_id for run in with_model}
    finished.sort(key=lambda run: (run.info.run_id not in models, run.data.params.get("seed", "").zfill(10)))
    frame, all_runs = frame_of(finished, sweeps), frame_of(runs, sweeps)
    params = tuple(dict.fromkeys(key for run in finished for key in run.data.params))
    lacks = dict(zip(all_runs["run_id"], lost(all_runs, params), strict=True))
    frame = frame.assign(**{LOST: frame["run_id"].map(lacks.get)})
    tags = sweeps[0].data.tags if len(sweeps) == 1 else {}
    found, rows = objective(frame), without_confirmed_trials(Sweep(frame, params, pd.DataFrame(), tags=tags)).runs
    rows = confirmed_if_any(rows, pd.Series("", index=rows.index))
    first = next(iter(ranked(rows, params)), None)
    return first["run_id"] if first and found.decides(first) else ""


def _like_the_last(runs: Sequence[Run]) -> list[Run]:
    def kind(run: Run) -> tuple[object, ...]:
        return run.data.params.get("data.target"), _split(run), [data["digest"] for data in datasets([run])]

    return [run for run in runs if kind(run) == kind(runs[0])]


def _split(run: Run) -> tuple[str | None, ...]:
    return tuple(map(run.data.params.get, SPLITS))
