"""Turns MLflow's runs and points into tidy tables, without reading anything from a store."""

# pandas declares wider types than these calls return.
# pyright: reportGeneralTypeIssues=false
from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.config.metrics import BY_UPDATE, final_values
from harness.tracking.run_tags import PRUNED, STOPPED

if TYPE_CHECKING:
    from mlflow.entities import Run

    from harness.data.mistakes import Mistake

NOTHING = ["run_id", "name", "status", "sample", "diverged_at", "chunksize", "learning_rate", "epochs"]
"""Columns of a table that has no runs."""

EPOCH_AXES = {"updates": "updates", "rows": "rows", "time/train_s": "seconds"}
CHUNK_METRIC = "train/chunk_loss"


@dataclass(frozen=True)
class Sweep:
    """Runs with their curves.

    Attributes:
        runs: One row per run, with a column for each param and metric; numeric columns have numeric types. `chunksize`
            is empty for full-sample runs, whose `sample` is `full`.
        params: The columns of `runs` that are params.
        curves: One row per point: `run_id`, `metric`, `step`, `value`, and the `epoch`, `updates`, `rows` and `seconds`
            of training so far. `seconds` is the time of the scan, which `time/shared_by` lanes share. Of metrics whose
            name starts with `by_update/`, only `updates` is known, which is their step.
        sweep_id: The summary run's id. This and the next three are empty unless the runs are those of one sweep.
        experiment_id: The summary run's experiment.
        name: The summary run's name.
        tags: The summary run's tags.
        data: The datasets: `name`, `digest`, and `rows` by context (`training`, `holdout` and `test`).
        artifact: Returns the text of an artifact of a run, given its id and the artifact's name; None if it has none.
        sample: At most 2,000 training rows in original units, if the data has one feature.
        classes: For each class, its rows by part: `class`, `train`, `holdout`; if the target has classes.
        mistakes: The most confident mistakes of the best run on held-out images.
        left_out: A sentence for each run that is not among `runs` because its record cannot be compared.
    """

    runs: pd.DataFrame
    params: tuple[str, ...]
    curves: pd.DataFrame
    sweep_id: str = ""
    experiment_id: str = ""
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    data: Sequence[Mapping[str, Any]] = ()
    sample: pd.DataFrame | None = None
    artifact: Callable[[str, str], str | None] = lambda run_id, name: None
    classes: pd.DataFrame | None = None
    mistakes: Sequence[Mistake] = ()
    left_out: tuple[str, ...] = ()


def row(run: Run) -> dict[str, object]:
    """Return a run as a row: a value for each column."""
    tags = run.data.tags
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "sample": tags.get("sample"),
        "diverged_at": tags.get("diverged_at"),
        **run.data.params,
        **{key: tags[key] for key in (STOPPED, PRUNED) if key in tags},
        **final_values(run.data.metrics),
    }


def typed(runs: Any) -> pd.DataFrame:
    """Return a table of rows made by `row`; columns that hold only numbers get numeric types."""
    for key in runs.columns.difference(["run_id", "name", "status", "sample"]):
        values = runs[key].where(runs[key] != "full") if key == "chunksize" else runs[key]
        if values.notna().any():
            numbers: Any = pd.to_numeric(values, errors="coerce")
            if numbers.notna().equals(values.notna()):
                whole = (
                    key in ("chunksize", "diverged_at", STOPPED, PRUNED)
                    or values.map(lambda value: str(value).isdigit()).all()
                )
                fits = float(numbers.max()) < 2**63
                runs[key] = numbers.astype("Int64") if whole and fits else numbers.astype(float)
        elif key == "chunksize":
            runs[key] = pd.array([pd.NA] * len(runs), dtype="Int64")
    return runs.copy()  # In one piece; pandas warns of frames of many pieces.


def curves_of(points: pd.DataFrame) -> pd.DataFrame:
    """Add epoch, updates, rows and seconds to each point of a loss or score."""
    axes = points[points["metric"].isin(list(EPOCH_AXES))]
    axes = axes.pivot_table(index=["run_id", "step"], columns="metric", values="value", aggfunc="last")
    axes = axes.reindex(columns=list(EPOCH_AXES)).rename(columns=EPOCH_AXES).reset_index()
    curves = points[~points["metric"].isin(list(EPOCH_AXES))].merge(axes, how="left", on=["run_id", "step"])
    curves.insert(4, "epoch", curves["step"].astype(float))
    by_update = (curves["metric"] == CHUNK_METRIC) | curves["metric"].str.startswith(BY_UPDATE)
    curves.loc[by_update, "updates"] = curves.loc[by_update, "step"].astype(float)
    curves.loc[by_update, ["epoch", "rows", "seconds"]] = float("nan")
    return curves.sort_values(["metric", "run_id", "step"], ignore_index=True)


def datasets(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the distinct datasets of `runs`."""
    found: dict[str, dict[str, Any]] = {}
    for entry in (entry for run in runs if run.inputs for entry in run.inputs.dataset_inputs):
        context = next((tag.value for tag in entry.tags if tag.key == "mlflow.data.context"), "training")
        data = found.setdefault(entry.dataset.digest, {"name": "", "digest": entry.dataset.digest, "rows": {}})
        data["name"] = entry.dataset.name.removesuffix(f" ({context})")
        data["rows"][context] = json.loads(entry.dataset.profile or "{}").get("num_rows", 0)
    return list(found.values())
