"""Reads the CSV with pandas, whole or in chunks; a bare parse shows the minimum cost of reading."""

# pyright: reportArgumentType=false, reportCallIssue=false
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from experiments.benchmark.task import Outcome, Task


def read(task: Task, dtype: type = np.float32) -> np.ndarray:
    """Return all scaled rows, with the target last."""
    return _scaled(pd.read_csv(task.path, nrows=task.rows, usecols=task.columns, dtype=np.float32), task, dtype)


def chunks(task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each chunk's scaled features `[rows, 1]` and targets `[rows]`."""
    size = task.size(task.chunks[0])
    for frame in pd.read_csv(task.path, nrows=task.rows, chunksize=size, usecols=task.columns, dtype=np.float32):
        values = _scaled(frame, task)
        yield values[:, :1], values[:, 1]


def parse_pandas(task: Task) -> Outcome:
    """Parse with pandas' C parser, 100,000 rows at a time."""
    start = time.perf_counter()
    for _ in pd.read_csv(task.path, chunksize=100_000, usecols=task.columns, dtype=np.float32):
        pass
    return Outcome(task.rows, [time.perf_counter() - start])


def _scaled(frame: pd.DataFrame, task: Task, dtype: type = np.float32) -> np.ndarray:
    return (frame[list(task.columns)].to_numpy(dtype) - np.array(task.mean, dtype)) / np.array(task.std, dtype)
