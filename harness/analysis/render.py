"""Renders a sweep's tables and sentences for the terminal and as CSV, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analysis.comparison import compare_full_to_batch
from harness.analysis.objective import chunksize, objective
from harness.analysis.replicates import averaged
from harness.analysis.sentences import best_runs, missing_kind, shared_scan, tuned, verdict
from harness.analysis.tables import Column, comparison_columns, one_line, run_columns, target_columns
from harness.analysis.time_to_target import times_to_target
from harness.analysis.whole_sample import whole_sample
from harness.escaping import csv_cell, markdown
from harness.runtime.secrets import masked
from harness.tracking.frames import Sweep
from harness.tracking.ranking import ranked

FULL_STYLE = "magenta"
MOST_ROWS = 100
"""Maximum number of rows of a table in the terminal."""


def show(sweep: Sweep, console: Console, target: float | None = None) -> None:
    """Print the tables and sentences of a sweep; trailing columns are left out if they do not fit the console's width.

    `target` is a value of the deciding metric; if it is given, another table shows when runs reach it.
    """
    for heading, columns, sentences in _sections(sweep, target):
        if heading:
            console.print()
            console.print(Text(f"{heading}:", style="bold"), soft_wrap=not console.is_terminal)
        _table(columns, console)
        if sentences:
            console.print()
            _say(sentences, console)


def as_csv(sweep: Sweep, target: float | None = None) -> str:
    """Return one line per run, best first, with all recorded values; with a target, one per chunksize and setting."""
    if target is None:
        return to_csv(_all_columns(sweep))
    rows = [asdict(each) for each in times_to_target(sweep, target)]
    rows = [{**row.pop("setting"), **row, "chunksize": row["chunksize"] or "full"} for row in rows]
    return to_csv(pd.DataFrame(rows))


def comparisons_as_csv(sweep: Sweep, target: float | None = None) -> str:
    """Return one line per comparison of the full sample with chunks: setting, axis and both results."""
    rows = [asdict(each) for each in compare_full_to_batch(sweep)]
    return to_csv(pd.DataFrame([{**row.pop("setting"), **row} for row in rows]))


def as_json(sweep: Sweep, target: float | None = None) -> str:
    """Return the runs, the comparisons of the full sample with chunks, and the times to a target."""
    whole = {
        "sweep": sweep.sweep_id or None,
        "objective": objective(sweep.runs).metric,
        "runs": json.loads(str(_all_columns(sweep).to_json(orient="records", double_precision=15))),
        "full_against_batch": [asdict(each) for each in compare_full_to_batch(sweep)],
    }
    if target is not None:
        whole |= {"target": target, "to_target": [asdict(each) for each in times_to_target(sweep, target)]}
    return json.dumps(_masked(whole), indent=1, default=lambda value: value.item(), allow_nan=False)


def as_markdown(sweep: Sweep, target: float | None = None) -> str:
    """Return the same tables and sentences as in the terminal, but as Markdown and with all columns."""
    parts = []
    for heading, columns, sentences in _sections(sweep, target):
        parts += [markdown(f"{heading}:") if heading else "", _markdown(columns), "\n".join(map(markdown, sentences))]
    return "\n\n".join(part for part in parts if part)


def _sections(sweep: Sweep, target: float | None) -> Iterator[tuple[str, list[Column], list[str]]]:
    """Yield the heading, the table and the sentences of each section."""
    found, comparisons, means = objective(sweep.runs), compare_full_to_batch(sweep), averaged(sweep)
    runs, all_runs = ranked(means.runs), sweep.rows
    sentences = [
        *best_runs(runs, found),
        *missing_kind(runs, found),
        *tuned(sweep.tags),
        *whole_sample(all_runs),
        *shared_scan(all_runs),
        *sweep.left_out,
    ]
    yield "", run_columns(means, runs), sentences
    if any(each.better for each in comparisons):
        heading = f"Each chunksize vs. the full sample, {found.metric} (* better)"
        yield heading, comparison_columns(comparisons), verdict(comparisons)
    if target is not None:
        yield f"To reach {found.metric} {target:g}", target_columns(times_to_target(sweep, target)), []


def show_list(columns: list[Column], console: Console, empty: str) -> None:
    """Print a table whose cells are text, or the sentence `empty` if it has no rows."""
    if len(columns[0]) == 1:
        _say([empty], console)
        return
    if not console.is_terminal:
        console.width = 10_000
    _table(columns, console, justify="left")


def _table(columns: list[Column], console: Console, justify: Literal["left", "right"] = "right") -> None:
    widths = [max(len(line) for cell in column for line in cell.split("\n")) + 1 for column in columns]
    left_out = []
    while len(columns) > 4 and sum(widths[: len(columns)]) - 1 > console.width:
        left_out.append(one_line(columns.pop()[0]))
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    for title, *_ in columns:
        table.add_column(Text(title), justify=justify, no_wrap=True, vertical="bottom")
    for cells in zip(*(column[1 : MOST_ROWS + 1] for column in columns), strict=True):
        table.add_row(*map(Text, cells), style=FULL_STYLE if "full" in cells[:2] else None)
    console.print(table)
    if (more := len(columns[0]) - 1 - MOST_ROWS) > 0:
        _say([f"{more:,} more rows are not shown. --csv, --json and --markdown show all."], console)
    if left_out:
        names = ", ".join(reversed(left_out))
        _say([f"Columns that do not fit this width: {names}. --csv, --json and --markdown show all."], console)


def _say(sentences: Sequence[str], console: Console) -> None:
    for sentence in sentences:
        console.print(Text(sentence), soft_wrap=not console.is_terminal)


def _all_columns(sweep: Sweep) -> pd.DataFrame:
    """Return the runs, best first, with the chunksize as written on the command line: a number or `full`."""
    rows = ranked(sweep.runs, sweep.params)
    runs = pd.DataFrame(rows, columns=sweep.runs.columns)
    if "chunksize" in runs:
        sizes = map(chunksize, rows)
        runs["chunksize"] = pd.Series(["full" if size == "full" else int(size) for size in sizes], dtype=object)
    return runs


def to_csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV, with text made safe for spreadsheets."""

    def cell(value: object) -> object:
        return csv_cell(masked(value)) if isinstance(value, str) else value

    texts = frame.select_dtypes(exclude="number")
    frame = frame.assign(**{str(name): texts[name].map(cell) for name in texts})
    return frame.set_axis([cell(name) for name in frame], axis=1).to_csv(index=False)


def _masked(value: Any) -> Any:
    """Mask the text in a structure of dicts and lists."""
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return masked(value) if isinstance(value, str) else value


def _markdown(columns: list[Column]) -> str:
    lines = [[markdown(one_line(title)) for title, *_ in columns], ["---:" for _ in columns]]
    lines += [[markdown(cell.strip()) for cell in row] for row in zip(*(column[1:] for column in columns), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
