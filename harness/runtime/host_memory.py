"""The memory still available to this process, on the machine and within its control group, such as a container's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path("/sys/fs/cgroup")


def available_host_bytes() -> int:
    """Return the available bytes of the machine, or of the control group if it leaves less."""
    try:
        own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
    except OSError:
        own = ""
    return min([psutil.virtual_memory().available, *_left(ROOT, ROOT / own)])


def _left(root: Path, group: Path) -> Iterator[int]:
    """Yield what a control group (version 2) and those above it, up to `root`, leave of their limits."""
    for folder in (group, *group.parents):
        try:
            limit, used = ((folder / f"memory.{name}").read_text().strip() for name in ("max", "current"))
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            if limit != "max":
                # Cached files are dropped when memory is needed.
                yield max(int(limit) - int(used) + int(statistics.get("inactive_file", 0)), 0)
        except (OSError, ValueError):
            pass
        if folder == root:
            return
