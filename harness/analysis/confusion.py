"""Draws the confusion matrices of the best batch run and the best full-sample run side by side."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false
from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from harness.analysis import figure_style as style
from harness.analysis.objective import chunksize, objective
from harness.analysis.replicates import best_of_each
from harness.data.class_tables import CONFUSION_FILE
from harness.escaping import figure_label
from harness.formatting import number
from harness.tracking.frames import Sweep

MOST_NUMBERED = 12
"""Matrices with more classes than this show no numbers."""
MOST_LABELS = 24


def confusion_matrices(sweep: Sweep) -> Figure | None:
    """Draw the matrices; None if neither run has one."""
    found = objective(sweep.runs)
    best = best_of_each(sweep, lambda run: run["sample"])
    matrices = []
    for sample in ("batch", "full"):
        chosen: Any = best[best["sample"] == sample]
        for run in chosen.to_dict("records"):
            if (matrix := _matrix(sweep.artifact(str(run["run_id"]), CONFUSION_FILE))) is not None:
                matrices.append(
                    (f"{style.size_name(chunksize(run))}: {found.metric} {number(run[found.metric])}", matrix)
                )
    if not matrices:
        return None
    size = len(matrices[0][1])
    side = min(max(0.42 * size, 2.2), 4.2)
    longest = min(max(len(str(name)) for name in matrices[0][1].index), 14) * 0.08 + 0.6
    width, height = len(matrices) * side + longest + 0.5, side + longest + 0.4
    figure, axes = style.panels(len(matrices), width, height)
    figure.subplots_adjust(longest / width, longest / height, 1 - 0.15 / width, 1 - 0.4 / height, wspace=0.06)
    for axis, (title, matrix) in zip(axes, matrices, strict=True):
        _draw(axis, matrix)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("predicted")
    axes[0].set_ylabel("label")
    return figure


def _draw(axis: Any, matrix: pd.DataFrame) -> None:
    counts = matrix.to_numpy(float)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(parts, cmap=colormaps["Blues"], vmin=0, vmax=1, aspect="auto")
    if len(counts) <= MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if parts[row, column] > 0.6 else "#222222"
            text = f"{count:.0f}" if count < 10_000 else number(count)
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    step = -(-len(counts) // MOST_LABELS)
    places = range(0, len(counts), step)
    names = [_short(str(matrix.index[place])) for place in places]
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_locator(FixedLocator([*places]))
    axis.set_xticklabels(names, rotation=90 if max(map(len, names)) > 3 else 0)
    axis.set_yticklabels(names)
    axis.grid(visible=False)


def _short(name: str) -> str:
    shown = figure_label(name)
    return shown if len(shown) <= 14 else f"{shown[:13]}…"


def _matrix(text: str | None) -> pd.DataFrame | None:
    """Return a recorded matrix by class; None if the content is not a matrix."""
    try:
        matrix = pd.read_csv(io.StringIO(text or ""), index_col=0, dtype={0: str}, keep_default_na=False)
        matrix = matrix.astype(np.int64)
    except (ValueError, KeyError):  # Includes pandas' errors for files without rows, columns or numbers.
        return None
    matrix.index = pd.Index(map(str, matrix.index))
    return matrix if matrix.size and matrix.shape[0] == matrix.shape[1] else None
