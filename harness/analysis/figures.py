"""Draws the figures of a sweep, for the report and for notebooks; functions return None if there is nothing to draw.

The full sample is vermilion (Okabe and Ito); the color of chunks is darker the longer they are; the heat map is
viridis.
"""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportOptionalMemberAccess=false
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from harness.analysis import figure_style as style
from harness.analysis.confusion import confusion_matrices
from harness.analysis.importance import importance_bars
from harness.analysis.parallel import parallel_coordinates
from harness.analysis.replicates import best_of_each
from harness.analysis.search_history import search_history
from harness.analysis.sentences import lanes_of_scans
from harness.analysis.settings import chunksize, settings
from harness.config.metrics import BY_UPDATE, predicts_probability, sign
from harness.config.naming import REPLICATES
from harness.escaping import figure_label
from harness.formatting import data_size, millions
from harness.tracking.frames import Sweep
from harness.tracking.ranking import objective
from harness.tracking.run_tags import EFFORT

ACCURACY = "val/accuracy"
MAX_NUMBERS = 150
"""A heat map with more cells than this shows no numbers."""
_CELL = ["size", "learning_rate", "epochs"]


def loss_curves(sweep: Sweep) -> Figure | None:
    """Draw the deciding metric of every run by epoch and by update; the best run of each chunksize is bold."""
    return _curves(sweep, objective(sweep.runs).metric)


def accuracy_curves(sweep: Sweep) -> Figure | None:
    """Draw the accuracy of every run in the same way, unless it is the deciding metric."""
    return None if objective(sweep.runs).metric == ACCURACY else _curves(sweep, ACCURACY)


def _curves(sweep: Sweep, metric: str) -> Figure | None:
    curves = sweep.curves[sweep.curves["metric"] == metric]
    by_update = sweep.curves[sweep.curves["metric"] == f"{BY_UPDATE}{metric}"]
    if curves.empty:
        return None
    best = best_of_each(sweep, chunksize)
    runs, bold = sweep.runs.set_index("run_id"), set(best["run_id"])
    figure, axes = style.panels(2, width=10, legend=True)
    faint = max(0.12, min(0.6, 12 / len(runs)))
    for run_id, curve in curves.groupby("run_id"):
        run: Any = runs.loc[run_id]
        full = run["sample"] == "full"
        line = {"color": style.colour(chunksize(run)), "zorder": 2, "alpha": faint, "linewidth": 1.0}
        if run_id in bold:
            line |= {"zorder": 4 if full else 3, "alpha": 1.0, "linewidth": 2.0}
        if len(curve) == 1:
            line |= {"marker": "o", "markersize": 4}
        if full:
            line["linestyle"] = style.DASHES
        axes[0].plot(curve["epoch"], curve["value"], **line)
        fine = pd.concat([curve, by_update[by_update["run_id"] == run_id]]).drop_duplicates("updates")
        axes[1].plot(*(fine.sort_values("updates")[key] for key in ("updates", "value")), **line)
    fits = style.scale_axis(axes[0], curves["value"], style.axis_label(sweep, metric), sign(metric))
    off = curves.loc[~fits, "run_id"].nunique()
    note = f" ({off} run{'s' if off > 1 else ''} partly off the scale)" if off else ""
    axes[0].set_xlabel("epochs")
    axes[0].set_title("by epoch: same rows seen", fontsize=10)
    axes[1].set_xlabel("updates")
    axes[1].set_title(f"by update{note}", fontsize=10)
    if curves["updates"].max() > style.LOG_RATIO * max(curves["updates"].min(), 1):
        style.make_logarithmic(axes[1])
        axes[1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: millions(value)))
    for axis in axes:
        if axis.get_xscale() == "linear":
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    rates = {chunksize(run): run["learning_rate"] for run in best.to_dict("records")}
    style.add_legend(figure, sweep.runs, rates=rates)
    return figure


def heat_map(sweep: Sweep) -> Figure | None:
    """Draw final values by chunksize and learning rate, one panel for each of the three largest epoch counts.

    A cell shows the mean over seeds and splits of the best combination of the other settings.
    """
    found = objective(sweep.runs)
    metric, direction = found
    runs = sweep.runs.assign(size=[chunksize(run) for _, run in sweep.runs.iterrows()])
    finished = found.finished(runs)
    sizes, rates = style.ordered(runs["size"]), sorted(runs["learning_rate"].unique())
    if len(finished) < 2 or len(sizes) * len(rates) < 2:
        return None
    others = [key for key in settings(sweep) if key not in ("chunksize", *REPLICATES)]
    means = finished.groupby(list(dict.fromkeys([*_CELL, *others])), dropna=False)[metric].mean()
    values = direction * (direction * means).groupby(_CELL).min()
    low, high = _colour_range(values[style.on_scale(values, direction)] * direction)
    low, high = sorted((direction * low, direction * high))
    norm = LogNorm(low, high) if direction > 0 and low > 0 and high > style.LOG_RATIO * low else Normalize(low, high)
    epochs = sorted(finished["epochs"].unique())[-3:]
    width = max(2.3 + len(epochs) * (1.4 + 0.62 * min(len(rates), 12)), 5)
    figure, axes = style.panels(len(epochs), width, min(2.0 + 0.42 * len(sizes), 9), right=1.05)
    colors = colormaps["viridis_r" if direction > 0 else "viridis"].with_extremes(bad="#DDDDDD")
    image = None
    for axis, count in zip(axes, epochs, strict=True):
        grid = np.array([[values.get((size, rate, count), np.nan) for rate in rates] for size in sizes], float)
        image = axis.imshow(np.ma.masked_invalid(grid), norm=norm, cmap=colors, aspect="auto")
        if grid.size * len(epochs) <= MAX_NUMBERS:
            diverged = set(runs.loc[runs["diverged_at"].notna(), _CELL].itertuples(index=False, name=None))
            for (row, column), value in np.ndenumerate(grid):
                ending = "div." if (sizes[row], rates[column], count) in diverged else "-"
                text = f"{value:.3g}" if np.isfinite(value) else ending
                dark = np.isfinite(value) and direction * (norm(min(max(value, low), high)) - 0.5) > 0.05
                color = "white" if dark else "#222222"
                axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color=color)
        style.label_cells(axis.xaxis, [f"{rate:g}" for rate in rates])
        style.label_cells(axis.yaxis, [size if size == "full" else f"{int(size):,}" for size in sizes])
        axis.set_xlabel("learning rate")
        axis.set_title(f"after {count} epoch{'s' if count > 1 else ''}", fontsize=10)
        axis.grid(visible=False)
    axes[0].set_ylabel("chunksize, rows")
    box = axes[-1].get_position()
    bar = figure.colorbar(image, cax=figure.add_axes((box.x1 + 0.12 / width, box.y0, 0.14 / width, box.height)))
    bar.set_label(style.axis_label(sweep, metric), fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def _colour_range(costs: pd.Series) -> tuple[float, float]:
    """Return the ends of the color scale: the best value, and one that lets colors differ among good runs."""
    low, middle, high = float(costs.min()), float(costs.median()), float(costs.max())
    return low, min(high, low + 2 * (middle - low)) if middle > low else high


def costs(sweep: Sweep) -> Figure | None:
    """Draw final losses against the memory for one update and against training time."""
    found = objective(sweep.runs)
    runs = found.finished(sweep.runs)
    if runs.empty:
        return None
    is_alone = "time/alone_s" in runs and bool(runs["time/alone_s"].notna().any())
    figure, axes = style.panels(2, width=10, legend=True)
    for size, group in runs.groupby(runs.apply(chunksize, axis=1)):
        dots: Any = {"color": style.colour(str(size)), "marker": "D" if size == "full" else "o"}
        dots |= {"s": 34, "alpha": 0.75, "linewidths": 0}
        axes[0].scatter(group["memory/update_mb"] * 1e6, group[found.metric], **dots)
        axes[1].scatter(group["time/alone_s" if is_alone else "time/train_s"], group[found.metric], **dots)
    style.scale_axis(axes[0], runs[found.metric], style.axis_label(sweep, found.metric), found.sign)
    if runs["memory/update_mb"].max() > style.LOG_RATIO * runs["memory/update_mb"].min():
        style.make_logarithmic(axes[0])
    axes[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: data_size(value)))
    axes[0].set_xlabel("memory for one update")
    axes[0].set_title("memory", fontsize=10)
    shared = lanes_of_scans(runs.to_dict("records"))
    if is_alone:
        label, heading = "updates x time of one update, measured alone", "time of the updates alone"
    elif not shared:
        label, heading = "training time", "time"
    else:
        label, heading = (
            f"training time of the scan, shared by {shared} lanes",
            "time (of the scan, not of single runs)",
        )
    axes[1].set_xlabel(label)
    axes[1].set_title(heading, fontsize=10)
    axes[1].set_xlim(left=0)
    axes[1].xaxis.set_major_locator(MaxNLocator(5))
    axes[1].xaxis.set_major_formatter(EngFormatter("s"))
    style.add_legend(figure, sweep.runs, marker="o")
    return figure


def fitted_lines(sweep: Sweep) -> Figure | None:
    """Draw a sample of the data and the best run's line for each chunksize, if there is only one feature."""
    columns = [sweep.runs[key] for key in ("data.features", "data.target", "data.log_columns") if key in sweep.runs]
    if sweep.sample is None or any(column.nunique() > 1 for column in columns) or "slope" not in sweep.runs:
        return None
    found = objective(sweep.runs)
    best = best_of_each(sweep, chunksize)
    best = best[best["slope"].notna()].sort_values(found.metric, ascending=found.sign > 0).head(style.LEGEND_ENTRIES)
    if best.empty or len(sweep.sample.columns) != 2:
        return None
    feature, target = sweep.sample.columns
    logs = str(sweep.runs.get("data.log_columns", pd.Series("")).iloc[0]).strip("[]").split(",")
    figure, (axis,) = style.panels(1, width=7, height=4.2)
    axis.scatter(sweep.sample[feature], sweep.sample[target], s=6, color="#9A9A9A", alpha=0.45, linewidths=0, zorder=1)
    x = np.linspace(sweep.sample[feature].min(), sweep.sample[feature].max(), 200)
    for _, run in best.iterrows():
        y = run["intercept"] + run["slope"] * (np.log(x) if feature in logs else x)
        if predicts_probability(run.get("loss", "mse")):
            y = 1 / (1 + np.exp(-y))
        y = np.exp(y) if target in logs else y
        size = chunksize(run)
        line: Any = {"color": style.colour(size), "linestyle": style.DASHES if size == "full" else "-", "linewidth": 2}
        axis.plot(x, y, label=f"{style.size_name(size)}: {found.metric} {run[found.metric]:.4g}", **line)
    bottom, top = np.quantile(sweep.sample[target], [0, 0.995])
    axis.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
    axis.set(xlabel=figure_label(str(feature)), ylabel=figure_label(str(target)))
    for direction in (axis.xaxis, axis.yaxis):
        direction.set_major_formatter(FuncFormatter(style.short))
    axis.set_title(f"{len(sweep.sample):,} training rows and the best run of each chunksize", fontsize=10)
    axis.legend(fontsize=8, frameon=False)
    return figure


FIGURES: dict[str, Callable[[Sweep], Figure | None]] = {
    "search": search_history,
    "losses": loss_curves,
    "accuracy": accuracy_curves,
    "confusion": confusion_matrices,
    "heat_map": lambda sweep: None if EFFORT in sweep.tags else heat_map(sweep),  # In a search, most cells are empty.
    "importance": importance_bars,
    "parallel": parallel_coordinates,
    "costs": costs,
    "fit": fitted_lines,
}
