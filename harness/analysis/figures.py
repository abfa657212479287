"""Figures of a sweep as matplotlib makes them, from what `harness.load_sweep` returns; None where nothing is to show.

Colours are chosen for the colour-blind: vermilion (Okabe and Ito's) for the full sample, blues that darken with the
chunk, and viridis for the heat map.
"""

# What pandas says of its own types is wider than what comes of these calls.
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.comparison import objective
from harness.formatting import millions
from harness.tracking.frames import Sweep
from harness.tracking.saved_views import colour

LEGEND_ENTRIES = 6
_CELL = ("size", "learning_rate", "epochs")
CELLS_WITH_NUMBERS = 150
LOG_RATIO = 20
"""Losses that differ by more than this factor are drawn on a logarithmic axis."""
FAR_ABOVE = 50
"""Losses above this multiple of the median loss leave the top of a figure: they are runs about to diverge."""


def loss_curves(sweep: Sweep) -> Figure | None:
    """Draw the losses of all runs against epochs and against updates, the best run of each chunksize emphasised."""
    key = objective(sweep.runs)
    curves = sweep.curves[sweep.curves["metric"] == key]
    if curves.empty:
        return None
    runs = sweep.runs.set_index("run_id")
    shades, best = _shades(sweep.runs), _best_of_sizes(sweep.runs, key)
    figure, axes = _figure(2, width=10, legend=True)
    faint = max(0.12, min(0.6, 12 / len(runs)))
    for run_id, curve in curves.groupby("run_id"):
        run: Any = runs.loc[run_id]
        style = {"color": shades[_size(run)], "zorder": 2, "alpha": faint, "linewidth": 1.0}
        if run_id in best:
            style |= {"zorder": 4 if run["sample"] == "full" else 3, "alpha": 1.0, "linewidth": 2.0}
        if len(curve) == 1:
            style |= {"marker": "o", "markersize": 4}
        if run["sample"] == "full":
            style["linestyle"] = (0, (4, 1.5))
        axes[0].plot(curve["epoch"], curve["value"], **style)
        axes[1].plot(curve["updates"], curve["value"], **style)
    top = _loss_axis(axes[0], curves["value"], f"{key}{_unit(sweep, key)}")
    above = curves.loc[curves["value"] > top, "run_id"].nunique()
    axes[0].set_xlabel("epochs")
    axes[1].set_xlabel("updates")
    if curves["updates"].max() > LOG_RATIO * max(curves["updates"].min(), 1):
        axes[1].set_xscale("log")
        axes[1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: millions(value)))
    for axis in axes:
        if axis.get_xscale() == "linear":
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _size_legend(figure, shades, sweep.runs)
    axes[0].set_title("the same epochs: the same rows seen", fontsize=10)
    axes[1].set_title(
        "the same updates" + (f" ({above} run{'s' if above > 1 else ''} partly above)" if above else ""), fontsize=10
    )
    return figure


def heat_map(sweep: Sweep) -> Figure | None:
    """Draw what the longest runs came to, by chunksize and learning rate, a panel for each number of epochs.

    A cell is the mean over seeds, of the best of the other settings.
    """
    key = objective(sweep.runs)
    runs = sweep.runs.assign(size=[_size(run) for _, run in sweep.runs.iterrows()])
    sizes, rates = _ordered(runs["size"]), sorted(runs["learning_rate"].unique())
    if key not in runs or (runs["status"].eq("FINISHED") & runs[key].notna()).sum() < 2 or len(sizes) * len(rates) < 2:
        return None
    finished = runs[(runs["status"] == "FINISHED") & runs[key].notna()]
    epochs = sorted(finished["epochs"].unique())[-3:]
    others = [name for name in sweep.params if name not in ("chunksize", "seed") and runs[name].nunique() > 1]
    means = finished.groupby(list(dict.fromkeys([*_CELL, *others])), dropna=False)[key].mean()
    values = means.groupby(list(_CELL)).min()
    low, high = float(values.min()), float(values[values < FAR_ABOVE * values.median()].max())
    norm = LogNorm(low, high) if low > 0 and high > LOG_RATIO * low else Normalize(low, high)
    height = min(2.0 + 0.42 * len(sizes), 9)
    width = max(2.3 + len(epochs) * (1.4 + 0.62 * min(len(rates), 12)), 5)
    figure, axes = _figure(len(epochs), width, height, right=1.05)
    cells = colormaps["viridis_r"].with_extremes(bad="#DDDDDD")
    image = None
    for axis, count in zip(axes, epochs, strict=True):
        grid = np.array([[values.get((size, rate, count), np.nan) for rate in rates] for size in sizes], float)
        image = axis.imshow(np.ma.masked_invalid(grid), norm=norm, cmap=cells, aspect="auto")
        if grid.size * len(epochs) <= CELLS_WITH_NUMBERS:
            gone = set(runs.loc[runs["diverged_at"].notna(), list(_CELL)].itertuples(index=False, name=None))
            for (row, column), value in np.ndenumerate(grid):
                where = sizes[row], rates[column], count
                text = f"{value:.3g}" if np.isfinite(value) else "div." if where in gone else "-"
                dark = np.isfinite(value) and norm(min(value, high)) > 0.55
                colour = "white" if dark else "#222222"
                axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
        _name_ticks(axis.xaxis, [f"{rate:g}" for rate in rates])
        names = [size if size == "full" else f"{int(size):,}" for size in sizes]
        _name_ticks(axis.yaxis, names)
        axis.set_xlabel("learning rate")
        axis.set_title(f"after {count} epoch{'s' if count > 1 else ''}", fontsize=10)
        axis.grid(visible=False)
    axes[0].set_ylabel("chunksize, rows")
    place = axes[-1].get_position()
    bar = figure.colorbar(image, cax=figure.add_axes((place.x1 + 0.12 / width, place.y0, 0.14 / width, place.height)))
    bar.set_label(f"{key}{_unit(sweep, key)}", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def costs(sweep: Sweep) -> Figure | None:
    """Draw losses beside the memory of an update and the time of training."""
    key = objective(sweep.runs)
    runs = sweep.runs[sweep.runs["status"] == "FINISHED"]
    runs = runs[runs[key].notna()] if key in runs else runs[:0]
    if runs.empty:
        return None
    shades = _shades(sweep.runs)
    figure, axes = _figure(2, width=10, legend=True)
    for size, group in runs.groupby(runs.apply(_size, axis=1)):
        marker = "D" if size == "full" else "o"
        style: dict[str, Any] = {"color": shades[str(size)], "marker": marker, "s": 34, "alpha": 0.75, "linewidths": 0}
        axes[0].scatter(group["memory/update_mb"] * 1e6, group[key], **style)
        axes[1].scatter(group["time/train_s"], group[key], **style)
    _loss_axis(axes[0], runs[key], f"{key}{_unit(sweep, key)}")
    memory = runs["memory/update_mb"]
    if memory.max() > LOG_RATIO * memory.min():
        axes[0].set_xscale("log")
    axes[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{millions(value)}B"))
    axes[0].set_xlabel("memory of the rows of an update")
    axes[0].set_title("memory of an update", fontsize=10)
    shared = int(runs["time/shared_by"].max()) if "time/shared_by" in runs else 1
    axes[1].set_xlabel("training time, s" if shared == 1 else f"training time of the scan that {shared} lanes share, s")
    axes[1].set_title("time" if shared == 1 else "time: the scan's, no run's own", fontsize=10)
    axes[1].set_xlim(left=0)
    _size_legend(figure, shades, sweep.runs, marker="o")
    return figure


def fitted_lines(sweep: Sweep) -> Figure | None:
    """Draw the data of one feature with the line of the best run of each chunksize."""
    columns = [sweep.runs[name] for name in ("data.features", "data.target", "data.log_columns") if name in sweep.runs]
    if sweep.sample is None or any(column.nunique() > 1 for column in columns) or "slope" not in sweep.runs:
        return None
    key = objective(sweep.runs)
    best = _best_of_sizes(sweep.runs, key)
    runs = sweep.runs[sweep.runs["run_id"].isin(best) & sweep.runs["slope"].notna()]
    if runs.empty or len(sweep.sample.columns) != 2:
        return None
    feature, target = sweep.sample.columns
    logs = str(sweep.runs.get("data.log_columns", pd.Series("")).iloc[0]).strip("[]").split(",")
    figure, (axis,) = _figure(1, width=7, height=4.2)
    axis.scatter(sweep.sample[feature], sweep.sample[target], s=6, color="#9A9A9A", alpha=0.45, linewidths=0, zorder=1)
    x = np.linspace(*np.quantile(sweep.sample[feature], [0, 1]), 200)
    shades = _shades(sweep.runs)
    drawn = runs.sort_values(key).head(LEGEND_ENTRIES)
    for _, run in drawn.iterrows():
        y = run["intercept"] + run["slope"] * (np.log(x) if feature in logs else x)
        if run.get("loss") == "binary_crossentropy":
            y = 1 / (1 + np.exp(-y))
        name = "full sample" if run["sample"] == "full" else f"chunks of {int(run['chunksize']):,}"
        dashes: Any = (0, (4, 1.5)) if run["sample"] == "full" else "-"
        y = np.exp(y) if target in logs else y
        axis.plot(x, y, color=shades[_size(run)], linestyle=dashes, linewidth=2, label=f"{name}: {key} {run[key]:.4g}")
    bottom, top = np.quantile(sweep.sample[target], [0, 0.995])
    axis.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
    axis.set(xlabel=feature, ylabel=target)
    for direction in (axis.xaxis, axis.yaxis):
        direction.set_major_formatter(FuncFormatter(_short))
    axis.set_title(f"{len(sweep.sample):,} training rows, and the best run of each chunksize", fontsize=10)
    axis.legend(fontsize=8, frameon=False)
    return figure


FIGURES = {"losses": loss_curves, "heat_map": heat_map, "costs": costs, "fit": fitted_lines}


def _figure(
    panels: int, width: float, height: float = 3.9, *, right: float = 0.15, legend: bool = False
) -> tuple[Figure, Sequence[Axes]]:
    """Make a figure with margins in inches: to have them computed would take as long as to draw it."""
    figure = Figure(figsize=(width, height), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
    bottom = 0.8 if legend else 0.55
    figure.subplots_adjust(0.8 / width, bottom / height, 1 - right / width, 1 - 0.35 / height, wspace=0.06)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, color="#E4E4E4", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8)
    return figure, axes


def _loss_axis(axis: Axes, values: pd.Series, label: str) -> float:
    """Scale an axis of losses to where most of them are; return the value above which none is shown."""
    top = FAR_ABOVE * float(values.median())
    shown = values[values <= top]
    if shown.min() > 0 and shown.max() > LOG_RATIO * shown.min():
        axis.set_yscale("log")
        axis.set_ylim(shown.min() / 1.15, shown.max() * 1.15)
    else:
        room = 0.05 * (float(shown.max() - shown.min()) or abs(float(shown.max())) or 1.0)
        axis.set_ylim(float(shown.min()) - room, float(shown.max()) + room)
    axis.yaxis.set_major_formatter(FuncFormatter(_short))
    axis.set_ylabel(label)
    return top


def _size_legend(figure: Figure, shades: dict[str, str], runs: pd.DataFrame, marker: str = "") -> None:
    """Say what the colours mean: all chunksizes, or some of many."""
    sizes = [size for size in _ordered(pd.Series(list(shades))) if size != "full"]
    if len(shades) > LEGEND_ENTRIES:
        sizes = [sizes[round(place)] for place in np.linspace(0, len(sizes) - 1, LEGEND_ENTRIES - 1)]
    entries = []
    for size in (["full"] if "full" in shades else []) + sizes[::-1]:
        count = int((runs.apply(_size, axis=1) == size).sum())
        line: Any = {"linestyle": "none", "marker": "D" if size == "full" else marker} if marker else {"linewidth": 2}
        if not marker and size == "full":
            line["linestyle"] = (0, (4, 1.5))
        name = "full sample" if size == "full" else f"chunks of {int(size):,}"
        label = f"{name} ({count} run{'s' if count > 1 else ''})"
        entries.append(Line2D([], [], color=shades[size], label=label, **line))
    spacing: dict[str, Any] = {"columnspacing": 1.2, "handlelength": 1.6, "fontsize": 7.5}
    figure.legend(handles=entries, frameon=False, loc="lower center", ncols=LEGEND_ENTRIES, **spacing)


def _best_of_sizes(runs: pd.DataFrame, key: str) -> set[str]:
    """Return the ids of the best finished run of each chunksize."""
    finished = runs[(runs["status"] == "FINISHED") & runs[key].notna()] if key in runs else runs[:0]
    if finished.empty:
        return set()
    return set(finished.loc[finished.groupby(finished.apply(_size, axis=1))[key].idxmin(), "run_id"])


def _shades(runs: pd.DataFrame) -> dict[str, str]:
    return {size: colour(size) for size in runs.apply(_size, axis=1).unique()}


def _size(run: Any) -> str:
    return "full" if run["sample"] == "full" else str(int(run["chunksize"]))


def _ordered(sizes: pd.Series) -> list[str]:
    """Return chunksizes, the full sample first and the shortest chunk last."""
    return sorted(sizes.unique(), key=lambda size: -math.inf if size == "full" else -int(size))


def _name_ticks(axis: Any, names: Sequence[str]) -> None:
    """Name the cells of a heat map, or some of many."""
    step = -(-len(names) // 24)
    axis.set_ticks(range(0, len(names), step), labels=names[::step])


def _short(value: float, _: object = None) -> str:
    return millions(value) if value >= 10_000 else f"-{millions(-value)}" if value <= -10_000 else f"{value:g}"


def _unit(sweep: Sweep, key: str) -> str:
    """Return the unit of a metric, for a label."""
    if not key.endswith(("rmse", "mae")):
        scaled = "data.scaling" in sweep.runs and set(sweep.runs["data.scaling"]) == {"standard"}
        return " (1 is the target's variance)" if scaled and set(sweep.runs.get("loss", [])) == {"mse"} else ""
    targets = set(sweep.runs.get("data.target", []))
    return f", in units of {targets.pop()}" if len(targets) == 1 else ""
