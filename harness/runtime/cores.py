"""The cores that this process may use, which may be fewer than the machine has."""

from __future__ import annotations

import os


def cores() -> list[int]:
    """Return the numbers of the cores."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # Only Linux has it.
        return list(range(os.cpu_count() or 1))
