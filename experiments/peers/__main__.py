"""The child: import a peer, have it do its tasks, leave the outcomes in a file.

    python -m experiments.peers NAME STARTED RESULT < tasks.json

STARTED is the clock's time when the process was started.
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

from experiments.measuring import read_through
from experiments.peers.process import PEERS
from experiments.peers.task import Task


def peak_mb() -> float:
    """Return the most memory of this program; `getrusage` counts that of the program that started it, too."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


def warm(path: str) -> None:
    """Have the system's cache hold a file, if half of the memory has room for it: disks are not what is measured."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if path and Path(path).stat().st_size <= memory / 2:
        read_through(Path(path))


def main(name: str, started: str, result: str) -> None:
    """Do the tasks on standard input."""
    tasks = [Task.of(task) for task in json.load(sys.stdin)]
    module, _, function = PEERS[name].work.partition(":")
    work = getattr(importlib.import_module(f"experiments.peers.{module}"), function)
    startup = time.monotonic() - float(started)
    outcomes = []
    for task in tasks:
        warm(task.path)
        outcome = work(task)
        outcome.startup += startup
        outcome.peak_mb = peak_mb()
        outcomes.append(asdict(outcome))
    Path(result).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
    gc.freeze()  # The interpreter need not go through all that was imported once more.
