"""Vowpal Wabbit: rows in its own text format, then its cache, then passes over the cache; one update per row."""

# An optional package.
# pyright: reportMissingImports=false
from __future__ import annotations

import tempfile
import time
from pathlib import Path

import polars as pl
from vowpalwabbit import Workspace

from experiments.benchmark.task import COLUMNS, Fit, Outcome, Task

LAPS = 3


def train(task: Task) -> Outcome:
    """Write the text and the cache, which counts as reading, and train."""
    with tempfile.TemporaryDirectory() as folder:
        text, cache = Path(folder) / "rows.vw", Path(folder) / "rows.cache"
        start = time.perf_counter()
        scaled = [
            ((pl.col(name) - mean) / std).cast(pl.Float32)
            for name, mean, std in zip(COLUMNS, task.mean, task.std, strict=True)
        ]
        numbers = dict.fromkeys(COLUMNS, pl.Float64)
        rows = pl.scan_csv(task.path, schema_overrides=numbers, n_rows=task.rows)
        lines = rows.select(pl.format("{} | b x:{}", scaled[1], scaled[0]))
        lines.sink_csv(text, include_header=False, quote_style="never")
        _train(text, cache, 1)
        read = time.perf_counter() - start
        laps, weights = [], []
        for _ in range(LAPS):
            start = time.perf_counter()
            weights = _train(text, cache, task.stops[-1])
            laps.append(time.perf_counter() - start)
    fit = Fit(task.chunks[0], 0.5, task.stops[-1], weights)
    return Outcome(task.rows, laps, [fit], read=read, lap_epochs=task.stops[-1])


def _train(text: Path, cache: Path, passes: int) -> list[float]:
    # Ten bits are enough for two weights. The intercept is a feature so that it can be looked up by name.
    options = f"--cache_file {cache} --passes {passes} --holdout_off -b 10 --noconstant --quiet"
    learner = Workspace(f"--data {text} {options}")
    weights = [learner.get_weight_from_name(name) for name in ("b", "x")]
    learner.finish()
    return weights
