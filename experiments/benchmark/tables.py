"""The results as tables, on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from experiments.benchmark.process import PEERS
from experiments.benchmark.timing import Row, ratio, three_digits

Cells = list[list[str]]
"""A table: its header, then its rows."""

HEADER = [
    "case",
    "peer",
    "wall s",
    "start-up s",
    "compile s",
    "the rest s",
    "configuration-rows/s",
    "peak MB",
    "timed on",
]


def ratio_table(rows: Sequence[Row]) -> Cells:
    """Return how many times as long as the harness each peer takes, start-up and compilation apart."""
    names = [name for name in PEERS if any(name in row.peers for row in rows)]
    lines = [["case", *(PEERS[name].label for name in names)]]
    for row in rows:
        cells = [row.case.name]
        for name in names:
            timing = row.peers.get(name)
            found = ratio(timing, row.harness)
            mark = "*" if timing and timing.measured_rows else ""
            cells.append("-" if found is None else f"{three_digits(found)}{mark}")
        lines.append(cells)
    return lines


def time_table(rows: Sequence[Row]) -> Cells:
    """Return everyone's times, and the rows they were measured on."""
    lines = [HEADER]
    for row in rows:
        for timing in (row.harness, *row.peers.values()):
            spans = map(str, (timing.wall, timing.startup, timing.compile, timing.work))
            timed = f"{timing.measured_rows:,} rows, scaled" if timing.measured_rows else "all"
            figures = [f"{timing.rate(row.case.task):,.0f}", f"{timing.peak_mb:,.0f}", timed]
            lines.append([row.case.name, PEERS[timing.name].label, *spans, *figures])
    return lines


def show(title: str, cells: Cells, console: Console) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    for number, name in enumerate(cells[0]):
        table.add_column(name, justify="right" if number else "left", vertical="bottom")
    for line in cells[1:]:
        table.add_row(*line)
    console.print(table)


def markdown(cells: Cells) -> str:
    """Return a table in Markdown."""
    lines = [cells[0], ["---", *["---:"] * (len(cells[0]) - 1)], *cells[1:]]
    return "\n".join(f"| {' | '.join(cell.replace('*', chr(92) + '*') for cell in line)} |" for line in lines)
