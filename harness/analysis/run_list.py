"""The table of a store's newest runs."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from harness.analysis.tables import Column
from harness.formatting import age, number
from harness.runtime.secrets import shown
from harness.tracking.frames import SHORT, row, run_state, typed
from harness.tracking.ranking import objective
from harness.tracking.run_tags import REPRODUCES, sweeps_of

if TYPE_CHECKING:
    from mlflow.entities import Run


def run_list(runs: Sequence[Run], abandoned: Collection[str] = ()) -> list[Column]:
    """Return the table of `runs`, one row per run; `abandoned` contains the ids of runs that no process trains."""
    rows = [_cells(run, abandoned) for run in runs]
    titles = ["run", "age", "state", "result", "model", "sweep", "name"]
    return [list(column) for column in zip(titles, *rows, strict=True)]


def as_frame(runs: Sequence[Run], abandoned: Collection[str] = ()) -> pd.DataFrame:
    """Return everything recorded about `runs`, one row per run, with their states."""
    states = [_state(run, abandoned) for run in runs]
    frame = typed(pd.DataFrame([row(run) for run in runs]))
    return pd.concat([frame[["run_id", "name"]], pd.Series(states, name="state"), frame.iloc[:, 2:]], axis=1)


def resumable(runs: Sequence[Run], abandoned: Collection[str] = ()) -> list[str]:
    """Return a sentence with the command that resumes the newest interrupted run, if there is one."""
    stopped = [run for run in runs if _state(run, abandoned) == "interrupted"]
    if not stopped:
        return []
    return [f"To resume {stopped[0].info.run_id[:SHORT]}: {stopped[0].data.tags.get('command', 'harness train ...')}"]


def _cells(run: Run, abandoned: Collection[str]) -> list[str]:
    values = row(run)
    metric = objective(pd.DataFrame([values])).metric
    has_result = run.info.status == "FINISHED" and metric in values
    original = shown(run.data.tags.get(REPRODUCES, ""))
    sweeps = [sweep[:SHORT] for sweep in sweeps_of(run.data.tags)]
    return [
        run.info.run_id[:SHORT],
        age(time.time() - run.info.start_time / 1000),
        _state(run, abandoned),
        f"{metric} {number(float(str(values[metric])))}" if has_result else "-",
        "yes" if run.outputs and run.outputs.model_outputs else "-",
        sweeps[-1] if sweeps else "-",
        shown(run.info.run_name or "") + (f" (reproduces {original[:SHORT]})" if original else ""),
    ]


def _state(run: Run, abandoned: Collection[str]) -> str:
    return "interrupted" if run.info.run_id in abandoned else run_state(run)
