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
_SHOWN_OR_TOLD = {"run_id", "name", "status", "sample", "diverged_at", "chunksize", "learning_rate", "epochs"}
_SPACE = ("loss", "data.scaling", "data.log_columns", "data.target")
Row = dict[Any, Any]


def _number(value: float) -> str:
    """Write a number with four digits, or all before its point if they are few."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def _share(value: float) -> str:
    """Write a number that is at most 1, and seldom far below 0."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def _count(number: float, noun: str) -> str:
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


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
    Field("val/\nr2", "val/r2", _share),
    Field("val/\naccuracy", "val/accuracy", _share),
    Field("val/\nauc", "val/auc", _share),
    Field("inter-\ncept", "intercept"),
    Field("slope", "slope"),
    Field("train\ns", "time/train_s", "{:.2g}".format),
    Field("rows\n/s", "rows_per_second", millions),
    Field("memory/\nupdate", "memory/update_mb", lambda value: f"{millions(value * 1e6)}B"),
)


def objective(runs: pd.DataFrame) -> str:
    """Return the metric that runs are compared by.

    It is `val/loss`, or `train/loss` without a holdout, or `val/rmse` where losses are of several kinds or spaces.
    """
    if "val/loss" not in runs or not bool(runs["val/loss"].notna().any()):
        return "train/loss"
    unlike = any(runs[key].nunique() > 1 for key in _SPACE if key in runs)
    return "val/rmse" if unlike and "val/rmse" in runs else "val/loss"


def ranked(runs: pd.DataFrame) -> list[Row]:
    """Return the finished runs, best first, and then the others."""
    key = objective(runs)

    def place(run: Row) -> float:
        value = run.get(key, math.nan)
        return value if run["status"] == "FINISHED" and not math.isnan(value) else math.inf

    return sorted(runs.to_dict("records"), key=place)


def render(runs: pd.DataFrame, width: int = 100) -> RenderableType:
    """Return a table of `runs`, best first, and what it says in a sentence each for batch and full sample.

    Args:
        runs: As `Records.runs` returns them.
        width: Characters of a line; metrics that do not fit are left out, the last ones first.
    """
    rows = ranked(runs)
    columns = [["chunk", *(row["chunksize"] for row in rows)]]
    columns += [["lr", *(f"{float(row['learning_rate']):g}" for row in rows)]]
    columns += [["epochs", *(row["epochs"] for row in rows)]]
    columns += [_setting(key, rows) for key in _varying(rows)]
    metrics = [column for column in (_metric(field, rows) for field in FIELDS) if any(column[1:])]
    # How a run ended that is not finished stands where its first metric would.
    first = metrics.pop(0) if metrics else ["", *("" for _ in rows)]
    columns += [[first[0], *(_ending(row) or cell for row, cell in zip(rows, first[1:], strict=True))]]
    while metrics and sum(map(_width, columns + metrics)) + len(columns + metrics) - 1 > width:
        metrics.pop()
    columns += metrics
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    for title, *_ in columns:
        table.add_column(title, justify="right", no_wrap=True, vertical="bottom")
    for row, cells in zip(rows, zip(*(column[1:] for column in columns), strict=True), strict=True):
        table.add_row(*map(Text, cells), style=FULL_STYLE if row["sample"] == "full" else None)
    return Group(table, Text(), *(Text(sentence) for sentence in summary(rows, objective(runs))))


def summary(rows: list[Row], key: str) -> list[str]:
    """Say what the best batch run and the best full-sample run of `rows`, best first, came to."""
    sentences = []
    for sample in ("batch", "full"):
        best = next((row for row in rows if row["sample"] == sample and row["status"] == "FINISHED"), None)
        if best:
            size = "the full sample" if sample == "full" else f"chunks of {best['chunksize']} rows"
            effort = f"{_count(best['updates'], 'update')} in {_count(float(best['epochs']), 'epoch')}"
            memory = f"{millions(best['memory/update_mb'] * 1e6)}B an update"
            sentences.append(f"Best with {size}: {key} {_number(best[key])} after {effort}, {memory}.")
    return sentences


def _varying(rows: list[Row]) -> list[str]:
    """Return the other params that the rows do not have in common."""
    params = {key for row in rows for key, value in row.items() if isinstance(value, str)} - _SHOWN_OR_TOLD
    params = {key for key in params if not key.startswith(("tracking.", "runtime.", "data.path", "data.rows"))}
    return sorted(key for key in params if len({row[key] for row in rows if _has(row, key)}) > 1)


def _setting(key: str, rows: list[Row]) -> list[str]:
    """Return a column of params: its title, and a cell a row."""
    title = key.removesuffix("._target_").removesuffix(".name").rpartition(".")[-1]
    values = [row[key] if _has(row, key) else "" for row in rows]
    return [title, *(value.rpartition(".")[-1] if key.endswith("_target_") else value for value in values)]


def _metric(field: Field, rows: list[Row]) -> list[str]:
    """Return a column of metrics of the finished runs: its title, and a cell a row."""
    shown = (_has(row, field.key) and not _ending(row) for row in rows)
    return [field.title, *(field.write(row[field.key]) if show else "" for row, show in zip(rows, shown, strict=True))]


def _ending(row: Row) -> str:
    """Say how a run ended that is not finished."""
    return "" if row["status"] == "FINISHED" else "diverged" if _has(row, "diverged_at") else row["status"].lower()


def _width(column: list[str]) -> int:
    return max(len(line) for cell in column for line in cell.split("\n"))


def _has(row: Row, key: str) -> bool:
    return row.get(key) is not None and row[key] == row[key]
