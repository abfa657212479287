"""A peer's process: import it, run its tasks, write the outcomes to a file.

    python -m experiments.benchmark.child NAME STARTED RESULT < tasks.json

STARTED is `time.monotonic()` at the start of the process.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

from experiments.benchmark.process import PEERS
from experiments.benchmark.task import Task


def peak_mb() -> float:
    """Return this program's peak memory. `getrusage` also counts what the parent had when it forked."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


def warm_cache(path: Path) -> None:
    """Read a file once, so that the disk is not measured, unless it would fill more than half of the memory."""
    if path.stat().st_size <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2:
        buffer = bytearray(4 << 20)
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def main(name: str, started: str, result: str) -> None:
    """Run the tasks on standard input."""
    tasks = [Task.from_json(task) for task in json.load(sys.stdin)]
    module, _, function = PEERS[name].function.partition(":")
    run = getattr(importlib.import_module(f"experiments.benchmark.peers.{module}"), function)
    startup = time.monotonic() - float(started)
    outcomes = []
    for task in tasks:
        warm_cache(Path(task.path))
        outcome = run(task)
        outcome.startup += startup
        outcome.peak_mb = outcome.peak_mb or peak_mb()
        outcomes.append(asdict(outcome))
    Path(result).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
    gc.freeze()  # Spares the interpreter one last pass over everything that was imported.
