"""Turns MLflow's runs and points into tidy tables, without reading anything from a store."""

# pandas declares wider types than these calls return.
# pyright: reportGeneralTypeIssues=false
from __future__ import annotations

import functools
import html
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.config.metrics import BY_UPDATE, epoch_metrics, final_values
from harness.config.naming import ALWAYS
from harness.formatting import number
from harness.tracking.ranking import ranked
from harness.tracking.run_tags import METRIC, PRUNED, RESTORED_EPOCH, STOPPED

if TYPE_CHECKING:
    from mlflow.entities import Run

    from harness.data.mistakes import Mistake

NOTHING = ["run_id", "name", "status", "sample", "diverged_at", "chunksize", "learning_rate", "epochs"]
"""Columns of a table without runs."""

SHORT = 8
"""Number of characters shown of an id; commands accept a prefix of an id."""

MOST_SHOWN = 10
"""Number of runs of a sweep that a notebook shows."""

EPOCH_AXES = {"updates": "updates", "rows": "rows", "time/train_s": "seconds"}
CHUNK_METRIC = "train/chunk_loss"

_EPOCHS = (STOPPED, PRUNED, RESTORED_EPOCH)
"""Tags that become columns."""


@dataclass(frozen=True, repr=False)
class Sweep:
    """Runs with their curves.

    Attributes:
        runs: One row per run, with a column for each param and metric; numeric columns have numeric types. `chunksize`
            is empty for full-sample runs, whose `sample` is `full`.
        params: The columns of `runs` that are params.
        curves: One row per point: `run_id`, `metric`, `step`, `value`, and the `epoch`, `updates`, `rows` and `seconds`
            of training so far. `seconds` is the time of the scan, which `time/shared_by` lanes share. For metrics whose
            names start with `by_update/`, only `updates`, their step, is known.
        sweep_id: The summary run's id. This and the next three are empty unless the runs belong to one sweep.
        experiment_id: The summary run's experiment.
        name: The summary run's name.
        tags: The summary run's tags.
        data: The datasets: `name`, `digest`, and `rows` by context (`training`, `holdout` and `test`).
        artifact: Returns the text of an artifact, given a run's id and the artifact's name; None if there is none.
        sample: At most 2,000 training rows in original units, if the data has one feature.
        classes: Rows of each class by part (`class`, `train`, `holdout`), if the target has classes.
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

    @functools.cached_property
    def rows(self) -> list[dict[Any, Any]]:
        """The rows of `runs` as dictionaries."""
        return self.runs.to_dict("records")

    @property
    def table(self) -> Any:
        """The runs as a readable DataFrame: best first, with the chunksize as written, and without constant params."""
        best_first = [run["run_id"] for run in ranked(self.runs, self.params)]
        runs = self.runs.set_index("run_id", drop=False).loc[best_first]
        runs["chunksize"] = runs["chunksize"].astype(object).where(runs["sample"] != "full", "full")
        runs["state"] = states(runs)
        varying = [key for key in self.params if key not in ALWAYS and runs[key].nunique(dropna=False) > 1]
        metrics = [*epoch_metrics(runs.columns), *(key for key in EPOCH_AXES if key in runs)]
        shown = ["name", "state", *(key for key in ALWAYS if key in runs), *varying, *metrics]
        return runs.set_index(runs["run_id"].str[:SHORT].rename("run"))[list(dict.fromkeys(shown))]

    def __repr__(self) -> str:
        """Describe the sweep in one line."""
        what = f"Sweep {self.sweep_id[:SHORT]} {self.name!r}" if self.sweep_id else "Runs"
        counts = Counter(states(self.runs)) if len(self.runs) else {}
        told = ", ".join(f"{times:,} {state}" for state, times in counts.items()) or "no runs"
        return f"<{what}: {told}; {len(self.curves):,} points in .curves>"

    def _repr_html_(self) -> str:
        """Show the same line and the best runs in a notebook."""
        best = self.table.head(MOST_SHOWN) if len(self.runs) else pd.DataFrame()
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{best.to_html(float_format=number, na_rep='')}"


def states(runs: pd.DataFrame) -> list[str]:
    """Return how each run ended, as `state_of` describes it."""

    def has(key: str) -> Any:
        return runs[key].notna() if key in runs else [False] * len(runs)

    endings = zip(runs["status"], has("diverged_at"), has(PRUNED), strict=True)
    return [state_of(status, diverged=diverged, pruned=pruned) for status, diverged, pruned in endings]


def row(run: Run) -> dict[str, object]:
    """Return a run as a row, with a value for each column."""
    tags = run.data.tags
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "sample": tags.get("sample"),
        "diverged_at": tags.get("diverged_at"),
        **run.data.params,
        **{key: tags[key] for key in _EPOCHS if key in tags},
        **final_values(run.data.metrics),
    }


def frame_of(runs: Sequence[Run], sweeps: Sequence[Run] = ()) -> pd.DataFrame:
    """Return a table of `runs`, one row per run.

    If they belong to one sweep, whose summary run is given, its deciding metric is used, because reused runs may have
    been trained for a different one.
    """
    frame = typed(pd.DataFrame([row(run) for run in runs], columns=None if runs else NOTHING))
    metrics = [sweep.data.tags.get(METRIC) for sweep in sweeps]
    if len(metrics) == 1 and metrics[0] is not None:
        frame[METRIC] = metrics[0] or None
    return frame


def state_of(status: str, *, diverged: bool, pruned: bool = False) -> str:
    """Return how a run ended, as shown to users; `status` is MLflow's."""
    if pruned:
        return "pruned"
    return "diverged" if diverged else {"KILLED": "interrupted"}.get(status, status.lower())


def run_state(run: Run) -> str:
    """Return how a run ended, as `state_of` describes it."""
    return state_of(run.info.status, diverged="diverged_at" in run.data.tags, pruned=PRUNED in run.data.tags)


def typed(runs: Any) -> pd.DataFrame:
    """Return a table of rows created by `row`; columns with only numbers get numeric types."""
    # Built in one step, because pandas warns about frames to which many columns are added.
    return pd.DataFrame({key: _typed(str(key), runs[key]) for key in runs.columns})


def _typed(key: str, values: Any) -> Any:
    if key in ("run_id", "name", "status", "sample"):
        return values
    if key == "chunksize":
        values = values.where(values != "full")
        if not values.notna().any():
            return pd.array([pd.NA] * len(values), dtype="Int64")
    if values.notna().any():
        numbers: Any = pd.to_numeric(values, errors="coerce")
        if numbers.notna().equals(values.notna()):
            whole = (
                key in ("chunksize", "diverged_at", *_EPOCHS) or values.map(lambda value: str(value).isdigit()).all()
            )
            fits = float(numbers.max()) < 2**63
            return numbers.astype("Int64") if whole and fits else numbers.astype(float)
    return values


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
