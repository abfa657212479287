"""The processor, and the cores of it that this process may use, which may be fewer than the machine has."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def cores() -> list[int]:
    """Return the indices of the cores; in a Slurm job or Ray actor, at most as many as were allocated to the task."""
    try:
        usable = sorted(os.sched_getaffinity(0))
    except AttributeError:  # Only Linux has this function.
        usable = list(range(os.cpu_count() or 1))
    given = os.environ.get("HARNESS_CORES") or os.environ.get("SLURM_CPUS_PER_TASK", "")
    return usable[: int(given)] if given.isdecimal() and int(given) else usable


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text(errors="replace")) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()
