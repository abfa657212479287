"""The figure: configuration-rows per second of everyone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.benchmark.process import PEERS
from experiments.benchmark.timing import Row, Timing, three_digits

MARKS: dict[str, dict[str, Any]] = {
    "harness": {"marker": "D", "color": "#D55E00"},
    "peer, whole task": {"marker": "o", "color": "#0072B2"},
    "peer, timed on the first rows and scaled": {"marker": "o", "color": "#0072B2", "markerfacecolor": "none"},
}
"""Colours and shapes that the colour-blind can tell apart."""


def draw(rows: Sequence[Row]) -> Figure:
    """Draw one run and the sweep, start-up and compilation included."""
    shown = [row for key in ("first", "sweep") for row in rows if row.case.key == key]
    drawn = Figure(figsize=(6.6 * max(len(shown), 1), 4.6), dpi=150, layout="constrained")
    for number, row in enumerate(shown):
        axis = drawn.add_subplot(1, len(shown), number + 1)
        timings = sorted([row.harness, *row.peers.values()], key=lambda timing: timing.rate(row.case.task))
        rates = [timing.rate(row.case.task) for timing in timings]
        for height, (timing, rate) in enumerate(zip(timings, rates, strict=True)):
            axis.plot(rate, height, linestyle="none", markersize=8, **_mark(timing))
            text = f"{three_digits(rate / 1e6)} M/s"
            axis.annotate(text, (rate, height), (8, -3), textcoords="offset points", fontsize=8)
        axis.set_yticks(range(len(timings)), [PEERS[timing.name].label for timing in timings])
        axis.set_xscale("log")
        axis.set_xlim(min(rates) / 2, max(rates) * 6)
        axis.set_xlabel("configuration-rows per second, everything included", fontsize=9)
        axis.set_title(row.case.name.replace(", chunk", "\nchunk").replace(", first", "\nfirst"), fontsize=9)
        axis.grid(color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(labelsize=8, length=0)
    handles = [Line2D([], [], linestyle="none", label=label, **style) for label, style in MARKS.items()]
    drawn.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return drawn


def _mark(timing: Timing) -> dict[str, Any]:
    harness, whole, scaled = MARKS.values()
    if timing.name == "harness":
        return harness
    return scaled if timing.measured_rows else whole
