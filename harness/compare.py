"""Runs side by side, as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.progress import millions

FULL_STYLE = "magenta"
Row = dict[Any, Any]


def _number(value: float) -> str:
    """Write a number with four digits, or all before its point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


class Field(NamedTuple):
    """A column of the table: its title, in lines, the key of its values, and how they are written."""

    title: str
    key: str
    write: Callable[[float], str] = _number


FIELDS = (
    Field("updates", "updates"),
    Field("train/\nloss", "train/loss"),
    Field("val/\nloss", "val/loss"),
    Field("val/\nrmse", "val/rmse"),
    Field("val/\nr2", "val/r2", "{:.3f}".format),
    Field("val/\naccuracy", "val/accuracy", "{:.3f}".format),
    Field("val/\nauc", "val/auc", "{:.3f}".format),
    Field("inter-\ncept", "intercept"),
    Field("slope", "slope"),
    Field("train\ns", "time/train_s", "{:.2g}".format),
    Field("rows\n/s", "rows_per_second", millions),
    Field("memory/\nupdate", "memory/update_mb", lambda value: f"{millions(value * 1e6)}B"),
)


def objective(runs: pd.DataFrame) -> str:
    """Return the metric that runs are compared by: `val/loss`, or `train/loss` without a holdout."""
    return "val/loss" if "val/loss" in runs and bool(runs["val/loss"].notna().any()) else "train/loss"


def ranked(runs: pd.DataFrame) -> list[Row]:
    """Return the finished runs, best first, and then the others."""
    key = objective(runs)

    def place(run: Row) -> float:
        value = run.get(key, math.nan)
        return value if run["status"] == "FINISHED" and not math.isnan(value) else math.inf

    return sorted(runs.to_dict("records"), key=place)


def render(runs: pd.DataFrame) -> RenderableType:
    """Return a table of `runs`, best first, and what it says in a sentence each for batch and full sample.

    Args:
        runs: As `Records.runs` returns them.
    """
    rows = ranked(runs)
    fields = [field for field in FIELDS if any(_present(row.get(field.key)) for row in rows)]
    others = [
        key for key in ("seed", "loss", "optimizer.name", "model._target_") if len({r.get(key) for r in rows}) > 1
    ]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    for title in ("chunk", "lr", "epochs", *others, *(field.title for field in fields)):
        table.add_column(title, justify="right", no_wrap=True, vertical="bottom")
    for row in rows:
        cells = [row["chunksize"], f"{float(row['learning_rate']):g}", row["epochs"]]
        cells += [str(row.get(key)) for key in others]
        if row["status"] == "FINISHED":
            cells += [field.write(row[field.key]) if _present(row.get(field.key)) else "" for field in fields]
        else:
            cells.append("diverged" if _present(row["diverged_at"]) else row["status"].lower())
        table.add_row(*cells, style=FULL_STYLE if row["sample"] == "full" else None)
    return Group(table, Text(), *(Text(sentence) for sentence in summary(rows, objective(runs))))


def summary(rows: list[Row], key: str) -> list[str]:
    """Say what the best batch run and the best full-sample run of `rows`, best first, came to."""
    sentences = []
    for sample in ("batch", "full"):
        best = next((row for row in rows if row["sample"] == sample and row["status"] == "FINISHED"), None)
        if best:
            size = "the full sample" if sample == "full" else f"chunks of {best['chunksize']} rows"
            effort = f"{best['updates']:,.0f} updates in {best['epochs']} epochs"
            memory = f"{millions(best['memory/update_mb'] * 1e6)}B an update"
            sentences.append(f"Best with {size}: {key} {_number(best[key])} after {effort}, {memory}.")
    return sentences


def _present(value: Any) -> bool:
    return value is not None and value == value
