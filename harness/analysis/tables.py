"""Runs side by side, and full sample against batch: tables of text, and the sentences that say what they show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness.analysis.comparison import APART, SHARED, Arrival, Comparison, objective, settings
from harness.formatting import millions
from harness.tracking.frames import Sweep

Row = dict[Any, Any]
Column = list[str]
"""A title, in lines, and a cell a row."""
BETTER = "*"
_MEMORY = "memory/update_mb"


def number(value: float) -> str:
    """Write a number with four digits, or all before its point if they are few."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def share(value: float) -> str:
    """Write a number that is at most 1, and seldom far below 0."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def count(quantity: float, noun: str) -> str:
    """Write how many there are of something."""
    return f"{quantity:,.0f} {noun}{'' if quantity == 1 else 's'}"


def memory(megabytes: float) -> str:
    """Write megabytes in a few characters."""
    return f"{millions(megabytes * 1e6)}B"


def in_a_line(title: str) -> str:
    """Return a column's title without line breaks."""
    return " ".join(title.replace("-\n", "").replace("/\n", "/").split())


class Field(NamedTuple):
    """A column of the table: its title, in lines, the key of its values, and how they are written."""

    title: str
    key: str
    write: Callable[[float], str] = number


FIELDS = (
    Field("updates", "updates"),
    Field("train/\nloss", "train/loss"),
    Field("val/\nloss", "val/loss"),
    Field("val/\nrmse", "val/rmse"),
    Field("val/\nr2", "val/r2", share),
    Field("val/\naccuracy", "val/accuracy", share),
    Field("val/\nauc", "val/auc", share),
    Field("inter-\ncept", "intercept"),
    Field("slope", "slope"),
    Field("train\ns", "time/train_s", "{:.2g}".format),
    Field("rows\n/s", "rows_per_second", millions),
    Field("memory/\nupdate", "memory/update_mb", memory),
)
_SCANS = {"train\ns": "scan\ns", "rows\n/s": "scan\nrows/s"}


def ranked(sweep: Sweep) -> list[Row]:
    """Return the finished runs, best first, and then the others."""
    key = objective(sweep.runs)

    def place(run: Row) -> float:
        value = run.get(key, math.nan)
        return value if run["status"] == "FINISHED" and not math.isnan(value) else math.inf

    rows: Any = sweep.runs.to_dict("records")
    return sorted(rows, key=place)


def run_columns(sweep: Sweep, rows: Sequence[Row]) -> list[Column]:
    """Return the table of runs: what sets them apart, then their metrics, which may be left out from the end.

    Args:
        sweep: Whose runs they are.
        rows: As `ranked` returns them, or the first of them.
    """
    columns = [_setting(key, rows) for key in settings(sweep)]
    shared = any(_has(row, "time/shared_by") and row["time/shared_by"] > 1 for row in rows)
    metrics = [_metric(field, rows) for field in FIELDS]
    metrics = [[_SCANS.get(title, title) if shared else title, *cells] for title, *cells in metrics if any(cells)]
    # How a run ended that is not finished stands where its first metric would.
    first = metrics.pop(0) if metrics else ["", *("" for _ in rows)]
    columns += [[first[0], *(_ending(row) or cell for row, cell in zip(rows, first[1:], strict=True))]]
    return columns + metrics


def against_columns(found: Sequence[Comparison]) -> list[Column]:
    """Return the table of full sample against batch, a row a setting; `*` marks the better loss of a pair."""
    by_setting: dict[tuple, dict[str, Comparison]] = {}
    for each in found:
        by_setting.setdefault(tuple(each.setting.items()), {})[each.axis] = each
    rows = list(by_setting.values())
    if not rows:
        return []
    names = dict.fromkeys(key for row in rows for key in row["epochs"].setting)
    columns = [[_title(key), *(_written(row["epochs"].setting.get(key)) for row in rows)] for key in names]
    same = [row["epochs"] for row in rows]
    columns += _losses(same, "same\nepochs")
    columns += [
        ["\nupdates\nfull", *(_written(each.full_updates, "{:,.0f}".format) for each in same)],
        ["\nupdates\nbatch", *(_written(each.batch_updates, "{:,.0f}".format) for each in same)],
        ["\nmemory\nfull", *(_written(each.full_memory_mb, memory) for each in same)],
        ["\nmemory\nbatch", *(_written(each.batch_memory_mb, memory) for each in same)],
    ]
    if any(each.interval for each in same):
        columns += [["seeds", *(str(each.seeds) for each in same)]]
        columns += [["batch - full,\nmean [95 % interval]", *(_spread(each) for each in same)]]
    for axis, title, unit in (("updates", "same\nupdates", "{:,.0f}".format), ("time", "same\ntime", "{:.3g}s".format)):
        each_row = [row[axis] for row in rows]
        if any(each.batch is not None for each in each_row):
            columns += [[f"{title}\n", *(_written(each.at, unit) for each in each_row)], *_losses(each_row, title)]
    return columns


def arrival_columns(found: Sequence[Arrival]) -> list[Column]:
    """Return the table of when runs come to a target."""
    if not found:
        return []
    names = dict.fromkeys(key for each in found for key in each.setting)
    shared = any((each.shared_by or 1) > 1 for each in found)
    columns = [["chunk", *(_size(each.chunksize) for each in found)]]
    columns += [[_title(key), *(_written(each.setting.get(key)) for each in found)] for key in names]
    columns += [
        ["epochs", *("not reached" if each.epochs is None else number(each.epochs) for each in found)],
        ["updates", *(_written(each.updates) for each in found)],
        ["scan s" if shared else "train s", *(_written(each.seconds, "{:.2g}".format) for each in found)],
    ]
    if any(each.seeds > 1 for each in found):
        columns += [["seeds", *(f"{each.reached} of {each.seeds}" for each in found)]]
    return columns


def summary(rows: Sequence[Row], key: str) -> list[str]:
    """Say what the best batch run and the best full-sample run of `rows`, best first, came to."""
    sentences = []
    for sample in ("batch", "full"):
        best = next((row for row in rows if row["sample"] == sample and row["status"] == "FINISHED"), None)
        if best and _has(best, key):
            size = "the full sample" if sample == "full" else f"chunks of {best['chunksize']} rows"
            effort = f"{count(best['updates'], 'update')} in {count(float(best['epochs']), 'epoch')}"
            sentences.append(f"Best with {size}: {key} {number(best[key])} after {effort}{_an_update(best)}.")
    return sentences


def conclusion(rows: Sequence[Row], key: str) -> str:
    """Say in a sentence which run is best, and what the best of the other kind comes to."""
    finished = [row for row in rows if row["status"] == "FINISHED" and _has(row, key)]
    if not finished:
        return "No run has finished."
    best = finished[0]
    others = [row for row in finished if row["sample"] != best["sample"]]
    text = f"The best run is {best['name']}: {key} {number(best[key])} after {count(best['updates'], 'update')}"
    if not others:
        return f"{text}{_an_update(best)}."
    other = others[0]
    kind = "full-sample" if other["sample"] == "full" else "batch"
    more = f" ({_more(other[key] / best[key])})" if other[key] > best[key] > 0 else ""
    text += f"; the best {kind} run, {other['name']}, comes to {number(other[key])}{more} "
    text += f"after {count(other['updates'], 'update')}"
    if not (_has(best, _MEMORY) and _has(other, _MEMORY)):
        return f"{text}."
    ratio = other[_MEMORY] / best[_MEMORY]
    compared = f"{number(ratio)} times the memory" if ratio >= 1 else f"1/{number(1 / ratio)} of the memory"
    return f"{text}, with {compared} of an update."


def _an_update(row: Row) -> str:
    return f", {memory(row[_MEMORY])} an update" if _has(row, _MEMORY) else ""


def _more(ratio: float) -> str:
    return f"{ratio - 1:.2%} more" if ratio < 2 else f"{ratio:.3g} times that"


def verdict(found: Sequence[Comparison]) -> list[str]:
    """Say how often which is better, and what cannot be compared."""
    sentences = []
    for axis, title in (("epochs", "epochs, and so the same rows,"), ("updates", "updates"), ("time", "time")):
        pairs = [each for each in found if each.axis == axis]
        fair = [each for each in pairs if each.better]
        if fair:
            wins = [sum(each.better == side for each in fair) for side in ("batch", "full")]
            tied = len(fair) - sum(wins)
            equal = f", and {tied} {'is' if tied == 1 else 'are'} equal" if tied else ""
            apart = f" ({len(pairs) - len(fair)} more have no point in common)" if len(pairs) > len(fair) else ""
            sentences.append(
                f"At the same {title} the best batch run is better in {wins[0]} of {len(fair)} settings, "
                f"the full-sample run in {wins[1]}{equal}{apart}."
            )
        elif pairs and pairs[0].reason == SHARED:
            sentences.append(
                "At the same time they cannot be compared: the runs shared a scan, and their times are equal by "
                "construction; hydra/launcher=basic trains one after another and gives times of runs alone."
            )
        elif pairs and pairs[0].reason == APART:
            sentences.append(
                "At the same updates they cannot be compared: a batch run's first epoch takes more updates than the "
                "full-sample run's last; train the full sample for more epochs."
            )
    return sentences


def shared_scan(rows: Sequence[Row]) -> list[str]:
    """Say whose the times are, where runs shared a scan."""
    shared = {int(row["time/shared_by"]) for row in rows if _has(row, "time/shared_by")}
    if not shared - {1}:
        return []
    lanes = " or ".join(map(str, sorted(shared)))
    return [
        f"scan s and rows/s are those of a scan that trained {lanes} lanes at once, no run's own; runs that differ in "
        "epochs only are one lane."
    ]


def _losses(found: Sequence[Comparison], title: str) -> list[Column]:
    def cell(each: Comparison, side: str) -> str:
        value, std = getattr(each, side), getattr(each, f"{side}_std")
        if value is None:
            return "-"
        return number(value) + (f"±{std:.1g}" if std is not None else "") + (BETTER if each.better == side else " ")

    return [
        [f"{title}\nfull", *(cell(each, "full") for each in found)],
        [f"{title}\nbatch", *(cell(each, "batch") for each in found)],
        [f"{title}\nchunk", *(_size(each.chunksize) if each.batch is not None else "-" for each in found)],
    ]


def _spread(each: Comparison) -> str:
    if each.difference is None or each.interval is None:
        return "-"
    return f"{each.difference:+.2g} [{each.interval[0]:+.2g}, {each.interval[1]:+.2g}]"


def _written(value: Any, write: Callable[[Any], str] | None = None) -> str:
    if value is None or value != value:
        return "-"
    if write is None:
        return value.rpartition(".")[-1] if isinstance(value, str) else f"{value:g}"
    return write(value)


def _size(chunksize: int | None) -> str:
    return "full" if chunksize is None else str(chunksize)


def _title(key: str) -> str:
    short = {"chunksize": "chunk", "learning_rate": "lr"}
    return short.get(key) or key.removesuffix("._target_").removesuffix(".name").rpartition(".")[-1]


def _setting(key: str, rows: Sequence[Row]) -> Column:
    """Return a column of params: its title, and a cell a row."""
    if key == "chunksize":
        return ["chunk", *("full" if row["sample"] == "full" else str(row[key]) for row in rows)]
    values = [row.get(key) for row in rows]
    cells = [
        "" if value is None or pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)
        for value in values
    ]
    return [_title(key), *(cell.rpartition(".")[-1] if key.endswith("_target_") else cell for cell in cells)]


def _metric(field: Field, rows: Sequence[Row]) -> Column:
    """Return a column of metrics of the finished runs: its title, and a cell a row."""
    shown = (_has(row, field.key) and not _ending(row) for row in rows)
    return [field.title, *(field.write(row[field.key]) if show else "" for row, show in zip(rows, shown, strict=True))]


def _ending(row: Row) -> str:
    """Say how a run ended that is not finished."""
    return "" if row["status"] == "FINISHED" else "diverged" if _has(row, "diverged_at") else row["status"].lower()


def _has(row: Row, key: str) -> bool:
    return row.get(key) is not None and not pd.isna(row[key])
