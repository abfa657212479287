"""Memory of the process: returning it to the system, and running Python's garbage collector less often."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Iterator

# Parameters of the GNU C library's mallopt.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8
_LARGE = 12 << 20
"""Larger than a block of text or rows: those are allocated over and over, and would get new pages each time."""

GC_THRESHOLDS = 50_000, 20, 50
"""Collect once per 50,000 new objects."""


def tune_malloc() -> None:
    """Return large allocations to the system when they are freed, and share arenas between threads.

    By default, the GNU C library grows its threshold up to 32 MiB and keeps free memory per thread. With a fixed
    `mmap` threshold alone, it would trim the heap down to 128 KiB, and blocks would get new pages each time.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_TRIM_THRESHOLD, 4 * _LARGE)
        library.mallopt(_ARENA_MAX, 2)


def release_memory() -> None:
    """Return Arrow's free memory to the system."""
    import pyarrow as pa

    for pool in (pa.default_memory_pool(), pa.system_memory_pool()):
        pool.release_unused()


@contextlib.contextmanager
def reduce_gc() -> Iterator[None]:
    """Run Python's garbage collector rarely inside the block, which creates many long-lived objects."""
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()  # For a program that continues; the command itself freezes everything again before it exits.


def freeze_gc() -> None:
    """Exclude all existing objects from garbage collection until `reduce_gc` ends."""
    gc.freeze()
