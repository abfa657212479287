"""What the machine can do at most: bare parses, a bare read of the table, a copy in memory, a product of matrices."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.measuring import read_through
from experiments.peers.task import Outcome, Task

COPIED_BYTES = 256 << 20
SIDE = 3072


def parse_pandas(task: Task) -> Outcome:
    """Parse the columns with pandas, in chunks of 100,000 rows."""

    def work() -> None:
        options = {"usecols": task.columns, "dtype": np.float32, "nrows": task.rows}
        for _ in pd.read_csv(task.path, chunksize=100_000, **options):
            pass

    return _laps(task, work, Path(task.path).stat().st_size)


def parse_polars(task: Task) -> Outcome:
    """Parse the columns with polars, batch by batch."""
    import polars as pl

    def work() -> None:
        numbers = dict.fromkeys(task.columns, pl.Float32)
        for _ in pl.scan_csv(task.path, schema_overrides=numbers).select(task.columns).collect_batches():
            pass

    return _laps(task, work, Path(task.path).stat().st_size)


def read_table(task: Task) -> Outcome:
    """Read the largest file of the table that the harness has made, in pieces; it is in the system's cache."""
    files = [path for path in (Path(task.folder) / ".harness").rglob("*") if path.is_file()]
    path = max(files, key=lambda path: path.stat().st_size)
    return _laps(task, lambda: read_through(path), path.stat().st_size)


def copy(task: Task) -> Outcome:
    """Copy memory on all cores, read and written bytes counted."""
    count = os.cpu_count() or 1
    pairs = [tuple(np.ones(COPIED_BYTES, np.uint8) for _ in range(2)) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:

        def work() -> None:
            list(pool.map(lambda pair: np.copyto(*pair), pairs))

        return _laps(task, work, 2 * COPIED_BYTES * count)


def matmul(task: Task) -> Outcome:
    """Multiply float32 matrices on all cores."""
    left, right = np.ones((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)
    return _laps(task, lambda: left @ right, 2.0 * SIDE**3)


def _laps(task: Task, work: Callable[[], object], amount: float) -> Outcome:
    laps = []
    for _ in range(task.repeats):
        start = time.perf_counter()
        work()
        laps.append(time.perf_counter() - start)
    return Outcome(task.rows, laps=laps, amount=amount)
