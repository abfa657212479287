"""Vowpal Wabbit: rows as its own text, then its cache, then passes over it; one step a row, by its own rule."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pandas as pd
from vowpalwabbit import Workspace

from experiments.peers.task import Fit, Outcome, Task

LAPS = 3


def train(task: Task) -> Outcome:
    """Write the text and the cache, which counts as reading, and take passes."""
    with tempfile.TemporaryDirectory() as folder:
        text, cache = Path(folder) / "rows.vw", Path(folder) / "rows.cache"
        start = time.perf_counter()
        _write(task, text)
        _pass(task, text, cache, 1)
        read = time.perf_counter() - start
        laps, weights = [], []
        for _ in range(LAPS):
            start = time.perf_counter()
            weights = _pass(task, text, cache, task.passes)
            laps.append(time.perf_counter() - start)
    fit = Fit(task.chunks[0], 0.5, task.passes, weights)
    return Outcome(task.rows, read=read, laps=laps, lap_epochs=task.passes, fits=[fit])


def _write(task: Task, path: Path) -> None:
    with path.open("w") as sink:
        for frame in pd.read_csv(task.path, usecols=task.columns, nrows=task.rows, chunksize=100_000):
            scaled = ((frame[task.columns] - task.mean) / task.std).astype("float32").astype("str")
            line = scaled[task.target] + " | b"
            for number, name in enumerate(task.features):
                line = line + f" x{number}:" + scaled[name]
            sink.write("\n".join(line) + "\n")


def _pass(task: Task, text: Path, cache: Path, passes: int) -> list[float]:
    # Weights are few; and an intercept of a name of its own can be asked for.
    learner = Workspace(
        f"--data {text} --cache_file {cache} --passes {passes} --holdout_off -b 10 --noconstant --quiet"
    )
    names = ["b", *(f"x{number}" for number in range(len(task.features)))]
    weights = [learner.get_weight_from_name(name) for name in names]
    learner.finish()
    return weights
