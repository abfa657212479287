"""Bare parses of a task's columns: what reading a CSV costs at least."""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import pandas as pd

from experiments.benchmark.task import Outcome, Task


def parse_pandas(task: Task) -> Outcome:
    """Parse with pandas' C parser, 100,000 rows at a time."""
    options = {"usecols": task.columns, "dtype": np.float32, "nrows": task.rows}
    return _timed(task, pd.read_csv(task.path, chunksize=100_000, **options))


def parse_polars(task: Task) -> Outcome:
    """Parse with polars, batch by batch."""
    import polars as pl

    numbers = dict.fromkeys(task.columns, pl.Float32)
    return _timed(task, pl.scan_csv(task.path, schema_overrides=numbers).select(task.columns).collect_batches())


def _timed(task: Task, pieces: Iterable) -> Outcome:
    start = time.perf_counter()
    for _ in pieces:
        pass
    return Outcome(task.rows, laps=[time.perf_counter() - start])
