"""The process's memory: what reading and compiling are done with goes back, and Python seldom looks for more."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Iterator

_TRIM_THRESHOLD = -1  # M_TRIM_THRESHOLD.
_MMAP_THRESHOLD = -3  # The GNU C library's M_MMAP_THRESHOLD.
_ARENA_MAX = -8  # M_ARENA_MAX.
_LARGE = 12 << 20
"""More than a text or table block, which come again and again: what goes back has its pages made anew each time."""

SELDOM = 50_000, 20, 50
"""Thresholds of Python's collector, by which it comes once in 50,000 new objects."""


def tune_malloc() -> None:
    """Have large pieces of memory go back to the system when they are freed, and threads share what is kept.

    By default the GNU C library comes to keep pieces of up to 32 MiB, for each thread apart; with a threshold of our
    own, it would give back all that is free at the top, down to 128 KiB, and blocks would have their pages made anew.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_TRIM_THRESHOLD, 4 * _LARGE)
        library.mallopt(_ARENA_MAX, 2)


def release_memory() -> None:
    """Return free memory to the system, Arrow's and that of the C library."""
    import pyarrow as pa

    for pool in (pa.default_memory_pool(), pa.system_memory_pool()):
        pool.release_unused()


@contextlib.contextmanager
def reduce_gc() -> Iterator[None]:
    """Have Python's collector come seldom, while jobs and records are made."""
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()  # For programs that go on; the command itself freezes all once more as it ends.


def freeze_gc() -> None:
    """Have the collector not go through what there is now, until `reduce_gc` ends."""
    gc.freeze()
