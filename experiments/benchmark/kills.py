"""Measures what a killed worker costs: the same sweep with and without a kill, in turn.

`make bench BENCH="--only kills"` measures only this.
"""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.benchmark.timing import Part, span
from experiments.benchmark.workers import mlps, train_with_workers

RUNS, EPOCHS = 16, 10
KILL_AT = 0.5
"""Share of the training after which the worker is killed."""


def kill_parts(repeats: int, say: Callable[[str], None]) -> dict[str, Part]:
    """Train a sweep with one worker of one core, undisturbed and with a kill in the middle, in pairs."""
    own, pairs = sorted(os.sched_getaffinity(0))[:1], []
    with TemporaryDirectory() as folder:
        for number in range(repeats):
            say(f"{RUNS} runs with a worker that is killed, and with one that is not ({number + 1} of {repeats})")
            pairs.append([train_with_workers(Path(folder), mlps(RUNS, EPOCHS), 1, own, at) for at in (None, KILL_AT)])
    what = f"{RUNS} MLP runs, 1 worker of one core"
    return {
        "kills/none": Part(f"{what}: whole command", span(alone.whole for alone, _ in pairs)),
        "kills/one": Part(f"{what}, killed once: whole command", span(killed.whole for _, killed in pairs)),
        "kills/training": Part(f"{what}: training", span(alone.longest for alone, _ in pairs)),
        "kills/share": Part("training done when it was killed", span(100 * each.killed_at for _, each in pairs), "%"),
        "kills/lost": Part("seconds lost by a kill", span(killed.whole - alone.whole for alone, killed in pairs)),
    }
