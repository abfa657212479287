"""Short ways to take times and to write them down, for the benchmarks."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

REPEATS = 3
READ_BYTES = 4 << 20


def measure(work: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Return the seconds that `work` takes, sorted, one of each call."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)


def read_through(path: Path) -> None:
    """Read a file from end to end, in pieces, and keep nothing of it."""
    piece = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass


def middle(seconds: list[float], unit: float = 1.0) -> str:
    """Write the median and the range of `seconds`, each divided by `unit`."""
    low, mid, high = (value / unit for value in (seconds[0], statistics.median(seconds), seconds[-1]))
    return f"{mid:.3g} ({low:.3g} to {high:.3g})"


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """Give a folder that has no table, no store and no run yet."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
