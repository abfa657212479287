"""A CSV in scaled pandas chunks."""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from experiments.benchmark.task import Task


def chunks(task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each chunk's features `[rows, features]` and targets `[rows]`."""
    mean, std = np.array(task.mean, np.float32), np.array(task.std, np.float32)
    options = {"usecols": task.columns, "dtype": np.float32, "nrows": task.rows}
    for frame in pd.read_csv(task.path, chunksize=task.size(task.chunks[0]), **options):
        values = (frame[task.columns].to_numpy() - mean) / std
        yield values[:, :-1], values[:, -1]
