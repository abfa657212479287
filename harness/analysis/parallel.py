"""Parallel coordinates: one line for each setting of a sweep, across one axis per key and one for the result."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from harness.analysis import figure_style as style
from harness.analysis.objective import chunksize
from harness.analysis.swept import LEAST_KEYS, Swept, key_name, level_name, ordered_levels, swept
from harness.formatting import count
from harness.tracking.frames import Sweep

MOST_LEVELS = 12
"""A key with more numbers than this has a continuous axis; fewer values are spaced evenly."""

BUNDLE = 0.5
"""Height of the bundle of lines through a value, as a fraction of the distance between values."""


class _Scale(NamedTuple):
    """An axis: the height between 0 and 1 of each setting's value, and its ticks."""

    heights: np.ndarray
    ticks: Sequence[tuple[float, str]]


def parallel_coordinates(sweep: Sweep, least_keys: int = LEAST_KEYS) -> Figure | None:
    """Draw the settings of a sweep that have finished runs; None if fewer than `least_keys` keys are swept.

    Lines have the color of their chunksize, and are more opaque for better results. Lines that share a value are
    ordered by their results.
    """
    data = swept(sweep)
    if len(data.levels.columns) < least_keys or len(data.runs) < 2:
        return None
    ranks = data.costs.rank(method="first", pct=True).to_numpy()
    offsets = data.objective.sign * (ranks - 0.5) * BUNDLE  # Ordered as on the last axis.
    scales = [_scale(data.levels[key], offsets) for key in data.levels]
    result, beyond = _result_scale(data)
    names = [*map(key_name, data.levels), data.objective.metric]
    figure, (axis,) = style.panels(1, min(max(1.5 * len(names), 7.5), 14), 4.3, right=0.6, legend=True)
    _draw(axis, data, [*scales, result], ranks)
    _label(axis, names, [*scales, result])
    axis.set_title(_title(data, beyond), fontsize=10, pad=30)
    figure.subplots_adjust(top=1 - 0.85 / figure.get_figheight(), bottom=0.4 / figure.get_figheight())
    style.add_legend(figure, data.runs, noun="setting")
    return figure


def _scale(values: pd.Series, offsets: np.ndarray) -> _Scale:
    """Return the axis of a key: a continuous one for many numbers, with other values, such as `full`, above it."""
    levels = ordered_levels(values)
    numbers = [level for level in levels if not isinstance(level, str)]
    if len(numbers) > MOST_LEVELS:
        others = levels[len(numbers) :]
        step = 0.1 if others else 0.0
        top = 1 - step * len(others)
        is_number = ~values.map(lambda value: isinstance(value, str)).to_numpy()
        heights, ticks = _continuous(values[is_number].astype(float).to_numpy())
        where = {other: top + step * (place + 1) for place, other in enumerate(others)}
        placed = np.array([where.get(value, 0.0) for value in values])
        placed[is_number] = top * heights
        return _Scale(placed, [*((top * at, text) for at, text in ticks), *((where[o], level_name(o)) for o in others)])
    distance = 1 / max(len(levels) - 1, 1)
    centres = values.map(levels.index).to_numpy(float) * distance
    shown = levels[:: -(-len(levels) // MOST_LEVELS)]
    ticks = [(levels.index(level) * distance, level_name(level)) for level in shown]
    return _Scale(centres + offsets * min(distance, 0.25), ticks)


def _result_scale(data: Swept) -> tuple[_Scale, int]:
    """Return the axis of the deciding metric, and the number of results beyond its end."""
    fits = style.on_scale(data.values, data.objective.sign)
    shown = data.values[fits]
    values = data.values.clip(shown.min(), shown.max()).to_numpy()
    return _Scale(*_continuous(values)), int((~fits).sum())


def _continuous(values: np.ndarray) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Return the heights of numbers and the ticks of a linear or, if it spreads them better, logarithmic axis."""
    low, high = float(values.min()), float(values.max())
    is_log = low > 0 and high > style.LOG_RATIO * low and _is_nearer_log(values, low, high)
    transform: Any = np.log if is_log else np.asarray
    bottom, top = transform(np.array([low, high]))

    def height(value: np.ndarray) -> np.ndarray:
        return (transform(value) - bottom) / ((top - bottom) or 1.0)

    subs = (1.0, 3.0) if high < 1e4 * low else (1.0,)
    locator = LogLocator(subs=subs) if is_log else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    at = np.array([value for value in locator.tick_values(low, high) if low <= value <= high]) if low < high else [low]
    return height(values), [(float(height(np.asarray(value))), style.short(float(f"{value:.6g}"))) for value in at]


def _is_nearer_log(values: np.ndarray, low: float, high: float) -> bool:
    """Return True if the median is closer to the middle of a logarithmic axis than to the middle of a linear one."""
    median = float(np.median(values))
    return abs(np.log(median / low) / np.log(high / low) - 0.5) < abs((median - low) / (high - low) - 0.5)


def _draw(axis: Axes, data: Swept, scales: Sequence[_Scale], ranks: np.ndarray) -> None:
    """Draw the lines, the best last."""
    heights = np.array([scale.heights for scale in scales])
    faint = max(0.12, min(0.5, 12 / len(data.runs)))
    sizes = [chunksize(run) for run in data.runs.to_dict("records")]
    for row in np.argsort(-ranks):
        strength = (1 - ranks[row]) ** 2
        line: Any = {"color": style.colour(sizes[row]), "alpha": faint + (1 - faint) * strength}
        line |= {"linewidth": 0.8 + 1.2 * strength, "linestyle": style.DASHES if sizes[row] == "full" else "-"}
        axis.plot(heights[:, row], **line)


def _label(axis: Axes, names: Sequence[str], scales: Sequence[_Scale]) -> None:
    """Replace the plot's own axes with one axis per key, with its name above it and its ticks."""
    axis.set(xlim=(-0.1, len(names) - 0.9), ylim=(-0.06, 1.06), xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
    for place, (name, scale) in enumerate(zip(names, scales, strict=True)):
        axis.axvline(place, color="#8A8A8A", linewidth=0.8, zorder=1)
        axis.text(place, 1.09, name.replace(".", ".\n", 1), ha="center", va="bottom", fontsize=8.5, weight="bold")
        for height, text in scale.ticks:
            axis.plot([place - 0.015, place + 0.015], [height] * 2, color="#8A8A8A", linewidth=0.8, zorder=1)
            mark: Any = {"fontsize": 7.5, "zorder": 9, "gid": f"{style.HALO}{place}_{height:.3f}"}
            axis.annotate(text, (place, height), (4, 0), "data", "offset points", va="center", **mark)


def _title(data: Swept, beyond: int) -> str:
    notes = [f"{count(data.left_out, 'unfinished run')} left out"] if data.left_out else []
    notes += [f"{beyond} beyond the last axis"] if beyond else []
    return f"{count(len(data.runs), 'setting')}" + (f" ({', '.join(notes)})" if notes else "")
