"""Finds the best run of a store, for commands that take `best` in place of an id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analysis.objective import objective
from harness.config.naming import SPLITS
from harness.errors import require
from harness.tracking.frames import datasets, frame_of
from harness.tracking.ranking import ranked

if TYPE_CHECKING:
    from mlflow.entities import Run

    from harness.tracking.reader import RunReader

BEST = "best"
"""Stands for the best run of the newest sweep; without one, of the newest runs on the same data, target and split."""

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
    found = best_of(runs, sweeps)
    require(
        bool(found),
        "There is no best run: no run with the deciding metric has finished. `harness runs` lists all runs.",
    )
    return found


def best_of(runs: Sequence[Run], sweeps: Sequence[Run] = ()) -> str:
    """Return the id of the best finished run, or an empty string; `sweeps` is the summary run if they are a sweep's.

    Runs of different splits are not ranked against each other. Of several splits, the one whose best model was logged
    counts, which is the first of the sweep.
    """
    finished = [run for run in runs if run.info.status == "FINISHED"]
    if len({_split(run) for run in finished}) > 1:
        with_model = [run for run in finished if run.outputs and run.outputs.model_outputs] or finished
        finished = [run for run in with_model if _split(run) == _split(with_model[0])]
    frame = frame_of(finished, sweeps)
    first = next(iter(ranked(frame)), None)
    return first["run_id"] if first and objective(frame).decides(first) else ""


def _like_the_last(runs: Sequence[Run]) -> list[Run]:
    def kind(run: Run) -> tuple[object, ...]:
        return run.data.params.get("data.target"), _split(run), [data["digest"] for data in datasets([run])]

    return [run for run in runs if kind(run) == kind(runs[0])]


def _split(run: Run) -> tuple[str | None, ...]:
    return tuple(map(run.data.params.get, SPLITS))
