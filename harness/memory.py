"""The process's memory: what reading, parsing and compiling are done with goes back to the system."""

from __future__ import annotations

import ctypes

import pyarrow as pa

_MMAP_THRESHOLD = -3  # The GNU C library's M_MMAP_THRESHOLD.
_ARENA_MAX = -8  # M_ARENA_MAX.
_LARGE = 12 << 20
"""More than a text or table block, which come again and again: what goes back has its pages made anew each time."""


def keep_small() -> None:
    """Have large pieces of memory go back to the system when they are freed, and threads share what is kept.

    By default the GNU C library comes to keep pieces of up to 32 MiB, for each thread apart.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_ARENA_MAX, 2)


def give_back() -> None:
    """Return free memory to the system, Arrow's and that of the C library."""
    for pool in (pa.default_memory_pool(), pa.system_memory_pool()):
        pool.release_unused()
