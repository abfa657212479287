"""The look of a sweep's figures: panels, axes, colors, tick labels and the legend of chunksizes."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from harness.analysis.objective import chunksize
from harness.escaping import figure_label
from harness.formatting import count, millions
from harness.tracking.frames import Sweep
from harness.tracking.run_colour import colour

DASHES: Any = (0, (4, 1.5))
"""The line style of full-sample runs."""
ACCENT = "#0072B2"
"""The color of anything without a chunksize; its contrast with light and dark pages is at least 3:1."""

HALO = "halo_"
"""Prefix of the ids of text elements that have an outline in the page's color."""

LEGEND_ENTRIES = 6
LOG_RATIO = 20
"""Values that differ by more than this factor get a logarithmic axis."""
LEAST_DISTANCE = 0.02
FEW_POWERS = 1000
"""A logarithmic axis whose ends differ by less than this factor is labeled between powers of 10, too."""
OFF_SCALE = 50
"""Losses above this multiple of the median loss are drawn off the scale; such runs are about to diverge."""


def panels(
    count: int, width: float, height: float = 3.9, *, right: float = 0.15, legend: bool = False
) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with `count` panels in a row; sizes and the right margin are in inches.

    The margins are fixed because computing them takes as long as drawing the figure.
    """
    figure = Figure(figsize=(width, height), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    bottom = 0.8 if legend else 0.55
    figure.subplots_adjust(0.8 / width, bottom / height, 1 - right / width, 1 - 0.35 / height, wspace=0.06)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, color="#E4E4E4", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8)
    return figure, axes


def on_scale(values: pd.Series, sign: int) -> pd.Series:
    """Return which values of a metric with this `sign` are on the scale; scores are judged by 1 minus the score."""
    if sign > 0:
        return values <= OFF_SCALE * float(values.median())
    return 1 - values <= OFF_SCALE * max(1 - float(values.median()), LEAST_DISTANCE)


def scale_axis(axis: Axes, values: pd.Series, label: str, sign: int) -> pd.Series:
    """Fit the y axis to the values that are on the scale, and return which ones are."""
    fits = on_scale(values, sign)
    shown = values[fits]
    if sign > 0 and shown.min() > 0 and shown.max() > LOG_RATIO * shown.min():
        axis.set_yscale("log")
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_ylim(shown.min() / 1.15, shown.max() * 1.15)
    else:
        room = 0.05 * (float(shown.max() - shown.min()) or abs(float(shown.max())) or 1.0)
        axis.set_ylim(float(shown.min()) - room, float(shown.max()) + room)
        axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.yaxis.set_major_formatter(FuncFormatter(short))
    axis.set_ylabel(label)
    return fits


def make_logarithmic(axis: Axes) -> None:
    """Make an x axis with data logarithmic, with labels at 1 or at 1 and 3 times powers of 10."""
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 3) if high < FEW_POWERS * low else (1,)))
    axis.xaxis.set_minor_formatter(NullFormatter())


def add_legend(
    figure: Figure,
    runs: pd.DataFrame,
    marker: str = "",
    rates: Mapping[str, float] = MappingProxyType({}),
    noun: str = "run",
) -> None:
    """Add a legend of the chunksizes, or of only a few if there are many.

    Args:
        figure: The figure.
        runs: The runs shown in it.
        marker: Marker to use instead of lines.
        rates: The learning rate of the best run of each chunksize.
        noun: What a row of `runs` represents, as a noun.
    """
    counts = runs.apply(chunksize, axis=1).value_counts()
    sizes = [size for size in ordered(counts.index) if size != "full"]
    if len(counts) > LEGEND_ENTRIES:
        sizes = [sizes[round(index)] for index in np.linspace(0, len(sizes) - 1, LEGEND_ENTRIES - 1)]
    entries = []
    for size in (["full"] if "full" in counts else []) + sizes[::-1]:
        line: Any = {"linestyle": "none", "marker": "D" if size == "full" else marker} if marker else {"linewidth": 2}
        if not marker and size == "full":
            line["linestyle"] = DASHES
        best = f"; best: lr {rates[size]:g}" if size in rates else ""
        label = f"{size_name(size)} ({count(counts[size], noun)}{best})"
        entries.append(Line2D([], [], color=colour(size), label=label, **line))
    spacing: dict[str, Any] = {"columnspacing": 1.2, "handlelength": 1.6, "fontsize": 7.5}
    figure.legend(handles=entries, frameon=False, loc="lower center", ncols=4 if rates else LEGEND_ENTRIES, **spacing)


def ordered(sizes: Any) -> list[str]:
    """Return the distinct chunksizes, the full sample first and the shortest chunk last."""
    return sorted(set(sizes), key=lambda size: -math.inf if size == "full" else -int(size))


def size_name(size: str) -> str:
    """Return a chunksize as shown in legends."""
    return "full sample" if size == "full" else f"chunks of {int(size):,}"


def label_cells(axis: Any, names: Sequence[str]) -> None:
    """Label the rows or columns of a heat map, or only a few if there are many."""
    step = -(-len(names) // 24)
    axis.set_ticks(range(0, len(names), step), labels=names[::step])


def short(value: float, _: object = None) -> str:
    """Format the label of a tick."""
    return millions(value) if value >= 10_000 else f"-{millions(-value)}" if value <= -10_000 else f"{value:g}"


def axis_label(sweep: Sweep, metric: str) -> str:
    """Return a metric's name, with its unit if it is the same for all runs."""
    if metric.endswith(("rmse", "mae")):
        targets = set(sweep.runs.get("data.target", []))
        return f"{metric}, in units of {figure_label(str(targets.pop()))}" if len(targets) == 1 else metric
    scaled = "data.scaling" in sweep.runs and set(sweep.runs["data.scaling"]) == {"standard"}
    return f"{metric} (1 is the target's variance)" if scaled and set(sweep.runs.get("loss", [])) == {"mse"} else metric
