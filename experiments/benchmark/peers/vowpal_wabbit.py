"""Vowpal Wabbit: rows in its own text format, then its cache, then passes over the cache; one update per row."""

# An optional package.
# pyright: reportMissingImports=false
from __future__ import annotations

import tempfile
import time
from pathlib import Path

import polars as pl
from vowpalwabbit import Workspace

from experiments.benchmark.task import Fit, Outcome, Task

LAPS = 3


def train(task: Task) -> Outcome:
    """Write the text and the cache, which counts as reading, and train."""
    with tempfile.TemporaryDirectory() as folder:
        text, cache = Path(folder) / "rows.vw", Path(folder) / "rows.cache"
        start = time.perf_counter()
        _write(task, text)
        _train(task, text, cache, 1)
        read = time.perf_counter() - start
        laps, weights = [], []
        for _ in range(LAPS):
            start = time.perf_counter()
            weights = _train(task, text, cache, task.passes)
            laps.append(time.perf_counter() - start)
    fit = Fit(task.chunks[0], 0.5, task.passes, weights)
    return Outcome(task.rows, read=read, laps=laps, lap_epochs=task.passes, fits=[fit])


def _write(task: Task, path: Path) -> None:
    numbers = dict.fromkeys(task.columns, pl.Float64)
    scaled = [
        ((pl.col(name) - mean) / std).cast(pl.Float32)
        for name, mean, std in zip(task.columns, task.mean, task.std, strict=True)
    ]
    names = "".join(f" x{number}:{{}}" for number in range(len(task.features)))
    line = pl.format("{} | b" + names, scaled[-1], *scaled[:-1])
    rows = pl.scan_csv(task.path, schema_overrides=numbers, n_rows=task.rows).select(line)
    rows.sink_csv(path, include_header=False, quote_style="never")


def _train(task: Task, text: Path, cache: Path, passes: int) -> list[float]:
    # Ten bits are enough for so few weights. The intercept is a feature so that it can be looked up by name.
    learner = Workspace(
        f"--data {text} --cache_file {cache} --passes {passes} --holdout_off -b 10 --noconstant --quiet"
    )
    names = ["b", *(f"x{number}" for number in range(len(task.features)))]
    weights = [learner.get_weight_from_name(name) for name in names]
    learner.finish()
    return weights
