"""The comparison as a person reads it in a terminal, and as programs read it: CSV, JSON, Markdown."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analysis.comparison import arrivals, comparisons, objective
from harness.analysis.tables import (
    Column,
    against_columns,
    arrival_columns,
    in_a_line,
    number,
    ranked,
    run_columns,
    shared_scan,
    summary,
    verdict,
)
from harness.tracking.frames import Sweep, row, typed

if TYPE_CHECKING:
    from mlflow.entities import Run

FULL_STYLE = "magenta"


def show(sweep: Sweep, console: Console, width: int, target: float | None = None) -> None:
    """Print the tables and what they say; columns that do not fit are left out, the last ones first.

    Args:
        sweep: The runs.
        console: Where to; sentences are wrapped where it is a terminal.
        width: Characters of a line.
        target: A loss to come to.
    """
    rows, key = ranked(sweep), objective(sweep.runs)
    sentences = [*summary(rows, key), *shared_scan(rows)]
    _table(run_columns(sweep, rows), console, width, [row["sample"] == "full" for row in rows])
    _say(sentences, console)
    found = comparisons(sweep)
    if any(each.better for each in found):
        _heading(f"Full sample against the best batch run, {key} (* the better):", console)
        _table(against_columns(found), console, width)
        _say(verdict(found), console)
    if target is not None:
        _heading(f"To {key} of {target:g}:", console)
        _table(arrival_columns(arrivals(sweep, target)), console, width)


def show_sweeps(sweeps: Iterable[tuple[Run, list[Run]]], console: Console, width: int) -> None:
    """Print a line a sweep: what it is, how its runs ended, and the best of them."""
    columns: list[Column] = [["sweep"], ["age"], ["runs"], ["best run"], ["came to"], ["name"]]
    for head, members in sweeps:
        runs = typed(pd.DataFrame([row(run) for run in members], columns=None if members else ["status"]))
        states = runs["status"].str.lower().value_counts()
        key = objective(runs)
        finished = runs[(runs["status"] == "FINISHED") & runs[key].notna()] if key in runs else runs[:0]
        best = finished.loc[finished[key].idxmin()] if len(finished) else None
        cells = (
            head.info.run_id,
            age(time.time() - head.info.start_time / 1000),
            ", ".join(f"{count:,} {state}" for state, count in states.items()) or "none",
            "-" if best is None else str(best["name"]),
            "-" if best is None else f"{key} {number(best[key])}",
            head.info.run_name or "",
        )
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
    if len(columns[0]) == 1:
        _say(["No sweep yet: `harness train -m ...` trains one."], console, before=False)
    else:
        if not console.is_terminal:
            console.width = width = 10_000
        _table(columns, console, width, justify="left")


def age(seconds: float) -> str:
    """Write how long ago something was."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def as_csv(sweep: Sweep, target: float | None = None) -> str:
    """Return a line a run, best first, with all that is known of it; with a target, a line a chunksize and setting."""
    if target is not None:
        return pd.DataFrame(_flat(asdict(each)) for each in arrivals(sweep, target)).to_csv(index=False)
    return _plain(sweep).to_csv(index=False)


def as_json(sweep: Sweep, target: float | None = None) -> str:
    """Return the runs, the comparisons of full sample against batch, and when runs come to a target."""
    whole = {
        "sweep": sweep.sweep_id or None,
        "objective": objective(sweep.runs),
        "runs": json.loads(str(_plain(sweep).to_json(orient="records", double_precision=15))),
        "full_against_batch": [asdict(each) for each in comparisons(sweep)],
    }
    if target is not None:
        whole |= {"target": target, "to_target": [asdict(each) for each in arrivals(sweep, target)]}
    return json.dumps(whole, indent=1, default=_number, allow_nan=False)


def as_markdown(sweep: Sweep, target: float | None = None) -> str:
    """Return the terminal's tables and sentences, whole, as Markdown."""
    rows, key = ranked(sweep), objective(sweep.runs)
    parts = [_markdown(run_columns(sweep, rows)), "\n".join([*summary(rows, key), *shared_scan(rows)])]
    found = comparisons(sweep)
    if any(each.better for each in found):
        parts += [f"Full sample against the best batch run, {key} (\\* the better):", _markdown(against_columns(found))]
        parts += ["\n".join(verdict(found))]
    if target is not None:
        parts += [f"To {key} of {target:g}:", _markdown(arrival_columns(arrivals(sweep, target)))]
    return "\n\n".join(part for part in parts if part)


def _table(
    columns: list[Column],
    console: Console,
    width: int,
    emphasised: Sequence[bool] = (),
    justify: Literal["left", "right"] = "right",
) -> None:
    left_out = []
    while len(columns) > 4 and sum(map(_width, columns)) + len(columns) - 1 > width:
        left_out.append(in_a_line(columns.pop()[0]))
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    for title, *_ in columns:
        table.add_column(title, justify=justify, no_wrap=True, vertical="bottom")
    rows = list(zip(*(column[1:] for column in columns), strict=True))
    for cells, emphasis in zip(rows, emphasised or [False] * len(rows), strict=True):
        table.add_row(*map(Text, cells), style=FULL_STYLE if emphasis else None)
    console.print(table)
    if left_out:
        names = ", ".join(reversed(left_out))
        _say([f"Left out at this width: {names} (--csv, --json and --markdown have all)."], console, before=False)


def _heading(line: str, console: Console) -> None:
    console.print()
    console.print(Text(line, style="bold"), soft_wrap=not console.is_terminal)


def _say(sentences: Sequence[str], console: Console, *, before: bool = True) -> None:
    if sentences and before:
        console.print()
    for sentence in sentences:
        console.print(Text(sentence), soft_wrap=not console.is_terminal)


def _plain(sweep: Sweep) -> pd.DataFrame:
    """Return the runs, best first; the chunksize of the full sample is `full`, as it is on the command line."""
    runs = pd.DataFrame(ranked(sweep), columns=sweep.runs.columns)
    if "chunksize" in runs:
        sizes = zip(runs["chunksize"], runs["sample"], strict=True)
        runs["chunksize"] = pd.Series(
            ["full" if sample == "full" else int(size) for size, sample in sizes], dtype=object
        )
    return runs


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    return {**values.pop("setting"), **values} | {"chunksize": values["chunksize"] or "full"}


def _markdown(columns: list[Column]) -> str:
    lines = [[in_a_line(title) for title, *_ in columns], ["---:" for _ in columns]]
    lines += [
        [cell.strip().replace("|", "\\|").replace("*", "\\*") for cell in row]
        for row in zip(*(column[1:] for column in columns), strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: Any) -> Any:
    return value.item()


def _width(column: Column) -> int:
    return max(len(line) for cell in column for line in cell.split("\n"))
