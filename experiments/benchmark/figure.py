"""The figure: configuration-rows per second of everyone."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.benchmark.process import PEERS
from experiments.benchmark.timing import Row, three_digits


def draw(rows: Sequence[Row]) -> Figure:
    """Draw one run and the sweep. Open circles were timed on the first rows and scaled."""
    shown = [row for row in rows if row.case.key in ("first", "sweep")]
    figure = Figure(figsize=(6.6 * max(len(shown), 1), 4.6), dpi=150, layout="constrained")
    for number, row in enumerate(shown):
        axis = figure.add_subplot(1, len(shown), number + 1)
        timings = sorted([row.harness, *row.peers.values()], key=lambda timing: timing.rate(row.case.task))
        for height, timing in enumerate(timings):
            rate, ours = timing.rate(row.case.task), timing.name == "harness"
            color, fill = "#D55E00" if ours else "#0072B2", "none" if timing.measured_rows else "full"
            axis.plot(rate, height, marker="D" if ours else "o", markersize=8, color=color, fillstyle=fill)
            axis.annotate(
                f"{three_digits(rate / 1e6)} M/s", (rate, height), (8, -3), textcoords="offset points", fontsize=8
            )
        axis.set_yticks(range(len(timings)), [PEERS[timing.name].label for timing in timings], fontsize=8)
        axis.set_xscale("log")
        axis.margins(x=0.25)
        axis.set_xlabel("configuration-rows per second, everything included (open circles: scaled)", fontsize=9)
        axis.set_title(row.case.name.replace(", chunk", "\nchunk").replace(", first", "\nfirst"), fontsize=9)
        axis.grid(color="#DDDDDD", linewidth=0.6)
        axis.spines[["top", "right", "left"]].set_visible(False)
    return figure
