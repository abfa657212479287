"""The figure of a search: its trials in the order in which they were proposed, and the confirmed settings."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false
from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import BaseModel, Field, ValidationError

from harness.analysis import figure_style as style
from harness.analysis.confirmed import TRIAL
from harness.analysis.replicates import SPREAD, averaged
from harness.analysis.settings import chunksize
from harness.tracking.frames import Sweep
from harness.tracking.ranking import objective
from harness.tracking.run_colour import colour
from harness.tracking.run_tags import EFFORT

FILE = "search.json"

_Value = Annotated[float, Field(allow_inf_nan=False)]


class _Run(BaseModel):
    run_id: str
    pruned_at: int | None = None
    value: _Value | None = None


class _Group(BaseModel):
    runs: list[_Run]


class _Record(BaseModel):
    trials: list[_Group]


def search_history(sweep: Sweep) -> Figure | None:
    """Draw the trials of a search; None if the sweep is not a search, or its record cannot be read."""
    groups = _groups(sweep)
    found, means = objective(sweep.runs), averaged(sweep).runs
    values = pd.Series([run.value for _, runs in groups for run in runs if run.value is not None], dtype=float)
    if values.empty:
        return None
    most = max(len(runs) for _, runs in groups)
    figure, (axis,) = style.panels(1, 7.5, legend=True)
    style.scale_axis(axis, values, style.axis_label(sweep, found.metric), found.sign)
    for size, runs in groups:
        _draw_trials(axis, size, runs, found.sign)
    confirmed = means[means[TRIAL].notna()] if TRIAL in means else means[:0]
    width = _draw_means(axis, confirmed, found.metric, most)
    axis.set_xlim(0, most + 1 + width)
    axis.set_xticks([tick for tick in axis.get_xticks() if 0 < tick <= most and tick == int(tick)])
    axis.set_xlabel("trial" + ("; at the right, means over other seeds ± standard deviation" if width else ""))
    style.add_legend(figure, sweep.runs)
    return figure


def _groups(sweep: Sweep) -> list[tuple[str, list[_Run]]]:
    """Return the trials that are compared with each other, in order, with their chunksize."""
    text = sweep.artifact(sweep.sweep_id, FILE) if EFFORT in sweep.tags and sweep.sweep_id else None
    try:
        record = _Record.model_validate_json(text or "")
    except ValidationError:
        return []
    sizes = {run["run_id"]: chunksize(run) for run in sweep.rows}
    known = [(group, [run for run in group.runs if run.run_id in sizes]) for group in record.trials]
    return [(sizes[runs[0].run_id], group.runs) for group, runs in known if runs]


def _draw_trials(axis: Axes, size: str, runs: list[_Run], sign: int) -> None:
    """Draw finished trials as dots, pruned ones as crosses, and the best so far as a line."""
    numbers = np.arange(1, len(runs) + 1)
    values = np.array([math.nan if run.value is None else run.value for run in runs])
    pruned = np.array([run.pruned_at is not None for run in runs])
    look: Any = {"color": colour(size), "linestyle": "none"}
    axis.plot(numbers[pruned], values[pruned], marker="x", markersize=4, alpha=0.6, **look)
    axis.plot(numbers[~pruned], values[~pruned], marker="D" if size == "full" else "o", markersize=4, **look)
    costs = sign * np.where(pruned | np.isnan(values), sign * math.inf, values)
    best = np.minimum.accumulate(costs)
    line = style.DASHES if size == "full" else "-"
    axis.step(numbers, np.where(np.isfinite(best), sign * best, math.nan), where="post", color=colour(size), ls=line)


def _draw_means(axis: Axes, settings: pd.DataFrame, metric: str, most: int) -> float:
    """Draw confirmed settings to the right of `most` trials, and return the width that they take up."""
    if settings.empty:
        return 0.0
    step = max(most * 0.03, 0.5)
    axis.axvline(most + 1, color="#8A8A8A", linewidth=0.8)
    for number, run in enumerate(settings.to_dict("records"), 1):
        spread = run.get(SPREAD)
        size = chunksize(run)
        axis.errorbar(
            most + 1 + number * step,
            run[metric],
            yerr=None if spread is None or math.isnan(spread) else spread,
            color=colour(size),
            marker="D" if size == "full" else "o",
            markersize=4,
            capsize=2,
        )
    return (len(settings) + 1) * step
