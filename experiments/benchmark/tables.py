"""The results as tables, on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from experiments.benchmark.goals import Goal
from experiments.benchmark.process import PEERS
from experiments.benchmark.task import Task
from experiments.benchmark.timing import Part, Row, Timing, ratio, three_digits

Cells = list[list[str]]
"""A table: its header, then its rows."""

FIGURES = ["wall s", "start-up s", "compile s", "the rest s", "rows/s", "configuration-rows/s", "peak MB"]


def harness_table(rows: Sequence[Row]) -> Cells:
    """Return the harness's times."""
    return [["case", *FIGURES], *([row.case.name, *_figures(row.case.task, row.harness)] for row in rows)]


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


def peer_table(rows: Sequence[Row]) -> Cells:
    """Return each peer's times, and the rows they were measured on."""
    lines = [["case", "peer", *FIGURES, "timed on"]]
    for row in rows:
        for name, timing in row.peers.items():
            timed = f"{timing.measured_rows:,} rows, scaled" if timing.measured_rows else "all"
            lines.append([row.case.name, PEERS[name].label, *_figures(row.case.task, timing), timed])
    return lines


def goal_table(goals: Sequence[Goal]) -> Cells:
    """Return the goals."""
    return [["goal", "wanted", "measured", ""], *(goal.cells for goal in goals)]


def part_table(parts: Iterable[Part]) -> Cells:
    """Return the components."""
    return [["part", "median (range)", "unit"], *([part.what, str(part.value), part.unit] for part in parts)]


def _figures(task: Task, timing: Timing) -> list[str]:
    spans = (timing.wall, timing.startup, timing.compile, timing.work)
    rates = task.passes * task.rows / timing.wall.mid, timing.rate(task)
    return [*map(str, spans), *(f"{rate:,.0f}" for rate in rates), f"{timing.peak_mb:,.0f}"]


def show(title: str, cells: Cells, console: Console) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    for number, name in enumerate(cells[0]):
        table.add_column(name, justify="right" if number else "left", vertical="bottom")
    for line in cells[1:]:
        table.add_row(*line)
    console.print(table)
    console.print()


def markdown(cells: Cells) -> str:
    """Return a table in Markdown."""
    lines = [cells[0], ["---", *["---:"] * (len(cells[0]) - 1)], *cells[1:]]
    return "\n".join(f"| {' | '.join(cell.replace('*', chr(92) + '*') for cell in line)} |" for line in lines)
