"""What was measured as tables, Markdown and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.console import Console
from rich.table import Table

from experiments.peers.process import PEERS
from experiments.peers.rounds import Row
from experiments.peers.standing import Goal, Standing, ratio, seconds
from experiments.peers.task import Task
from harness.formatting import millions

Cells = list[list[str]]
"""A table: its header, then its rows."""

LIMITS = {
    "parse_pandas": "bare parse, pandas",
    "parse_polars": "bare parse, polars",
    "table": "bare read of the table",
    "copy": "memory bandwidth",
    "matmul": "arithmetic peak",
}
MARKS: dict[str, dict[str, Any]] = {
    "harness": {"marker": "D", "color": "#D55E00"},
    "peer, run whole": {"marker": "o", "color": "#0072B2"},
    "peer, timed on a part and scaled": {"marker": "o", "color": "#0072B2", "markerfacecolor": "none"},
}
"""In colours and shapes that the colour-blind tell apart."""


def measured(rows: Sequence[Row]) -> Cells:
    """Return what the harness took for each case."""
    header = ["case", "wall s", "start-up s", "compile s", "the rest s", "rows/s", "configuration-rows/s", "peak MB"]
    return [header, *([row.case.name, *_figures(row.case.task, row.ours)] for row in rows)]


def against_peers(rows: Sequence[Row]) -> Cells:
    """Return how many times as long as the harness each peer takes, start-up and compilation apart."""
    names = [name for name in PEERS if any(name in row.peers for row in rows)]
    lines = [["case", *(PEERS[name].label for name in names)]]
    for row in rows:
        cells = [row.case.name]
        for name in names:
            standing = row.peers.get(name)
            found = ratio(standing, row.ours)
            mark = "*" if standing and standing.measured_rows else ""
            cells.append("-" if found is None else f"{seconds(found)}{mark}")
        if row.peers:
            lines.append(cells)
    return lines


def against_limits(rows: Sequence[Row]) -> Cells:
    """Return how many times as long as each limit the harness takes, start-up and compilation apart."""
    names = [name for name in LIMITS if any(name in row.least for row in rows)]
    lines = [["case", *(LIMITS[name] for name in names)]]
    for row in rows:
        factors = (row.ours.work.mid / row.least[name] if name in row.least else None for name in names)
        lines.append([row.case.name, *("-" if factor is None else seconds(factor) for factor in factors)])
    return lines


def peers(rows: Sequence[Row]) -> Cells:
    """Return what each peer takes for each case, and on how many rows that was timed."""
    header = measured([])[0]
    lines = [[header[0], "peer", *header[1:], "timed on"]]
    for row in rows:
        for name, standing in row.peers.items():
            timed = f"{standing.measured_rows:,} rows, scaled" if standing.measured_rows else "all"
            lines.append([row.case.name, PEERS[name].label, *_figures(row.case.task, standing), timed])
    return lines


def wanted(goals: Sequence[Goal]) -> Cells:
    """Return the goals."""
    return [["goal", "wanted", "measured", ""], *(goal.cells for goal in goals)]


def _figures(task: Task, standing: Standing) -> list[str]:
    spans = (standing.wall, standing.startup, standing.compile, standing.work)
    rates = task.passes * task.rows / standing.wall.mid, standing.rate(task)
    return [*map(str, spans), *(f"{rate:,.0f}" for rate in rates), f"{standing.peak_mb:,.0f}"]


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


def figure(rows: Sequence[Row]) -> Figure:
    """Draw the configuration-rows a second, everything included, of all that do one run, and the sweep."""
    shown = [row for key in ("first", "sweep") for row in rows if row.case.key == key] or list(rows[:1])
    drawn = Figure(figsize=(6.6 * max(len(shown), 1), 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(drawn)
    for number, row in enumerate(shown):
        axis = drawn.add_subplot(1, len(shown), number + 1)
        standings = sorted([row.ours, *row.peers.values()], key=lambda each: each.rate(row.case.task))
        rates = [each.rate(row.case.task) for each in standings]
        for place, (standing, rate) in enumerate(zip(standings, rates, strict=True)):
            axis.plot(rate, place, linestyle="none", markersize=8, **MARKS[_kind(standing)])
            axis.annotate(f"{millions(rate)}/s", (rate, place), (8, -3), textcoords="offset points", fontsize=8)
        axis.set_yticks(range(len(standings)), [PEERS[each.name].label for each in standings])
        axis.set_xscale("log")
        axis.set_xlim(min(rates) / 2, max(rates) * 6)
        axis.set_xlabel("configuration-rows a second, everything included", fontsize=9)
        axis.set_title(row.case.name.replace(", chunk", "\nchunk").replace(", first", "\nfirst"), fontsize=9)
        axis.grid(color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(labelsize=8, length=0)
    handles = [Line2D([], [], linestyle="none", label=label, **style) for label, style in MARKS.items()]
    drawn.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return drawn


def _kind(standing: Standing) -> str:
    harness, run_whole, from_a_part = MARKS
    if standing.name == "ours":
        return harness
    return from_a_part if standing.measured_rows else run_whole
