"""Returns the process's free memory to the system."""

from __future__ import annotations

import ctypes

# Parameters of the GNU C library's mallopt.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8
_LARGE = 12 << 20
"""Larger than a block of text or rows, since blocks are allocated repeatedly and should not get new pages each time."""


def tune_malloc() -> None:
    """Return large allocations to the system when they are freed, and share arenas between threads.

    By default, the GNU C library raises its threshold up to 32 MiB and keeps free memory per thread. With a fixed
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
