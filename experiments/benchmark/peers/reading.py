"""The CSV read by pandas, whole or in chunks, and bare parses that show what reading costs at least."""

# pyright: reportArgumentType=false, reportCallIssue=false
import time
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from experiments.benchmark.task import COLUMNS, Outcome, Task

OPTIONS = {"usecols": COLUMNS, "dtype": np.float32}


def read(task: Task, dtype: type = np.float32) -> np.ndarray:
    """Return all scaled rows `[rows, 2]`, target last."""
    return _scaled(pd.read_csv(task.path, nrows=task.rows, **OPTIONS), task, dtype)


def chunks(task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each chunk's scaled features `[rows, 1]` and targets `[rows]`."""
    for frame in pd.read_csv(task.path, nrows=task.rows, chunksize=task.size(task.chunks[0]), **OPTIONS):
        values = _scaled(frame, task)
        yield values[:, :1], values[:, 1]


def parse_pandas(task: Task) -> Outcome:
    """Parse with pandas' C parser, 100,000 rows at a time."""
    return _timed(task, pd.read_csv(task.path, chunksize=100_000, **OPTIONS))


def parse_polars(task: Task) -> Outcome:
    """Parse with polars, batch by batch."""
    import polars as pl

    numbers = dict.fromkeys(COLUMNS, pl.Float32)
    return _timed(task, pl.scan_csv(task.path, schema_overrides=numbers).select(COLUMNS).collect_batches())


def _scaled(frame: pd.DataFrame, task: Task, dtype: type = np.float32) -> np.ndarray:
    return (frame[COLUMNS].to_numpy(dtype) - np.array(task.mean, dtype)) / np.array(task.std, dtype)


def _timed(task: Task, pieces: Iterable) -> Outcome:
    start = time.perf_counter()
    for _ in pieces:
        pass
    return Outcome(task.rows, [time.perf_counter() - start])
