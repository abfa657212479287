"""The memory still available to this process, on the machine and within its control group, such as a container's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path("/sys/fs/cgroup")
_RECLAIMABLE = ("active_file", "inactive_file", "slab_reclaimable")


def available_host_bytes() -> int:
    """Return the available bytes of the machine, or of the control group if it leaves less."""
    try:
        own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
    except OSError:
        own = ""
    return min([psutil.virtual_memory().available, *_left(ROOT, ROOT / own)])


def _left(root: Path, group: Path) -> Iterator[int]:
    """Yield the memory left under the limits of a control group (version 2) and of those above it, up to `root`."""
    for folder in (group, *group.parents):
        try:
            limit, used = ((folder / f"memory.{name}").read_text().strip() for name in ("max", "current"))
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            if limit != "max":
                # The kernel drops these when memory is needed.
                cached = sum(int(statistics.get(name, 0)) for name in _RECLAIMABLE)
                yield max(int(limit) - int(used) + cached, 1)
        except (OSError, ValueError):
            pass
        if folder == root:
            return
