"""How long do the harness's single parts take?

    python -m experiments.parts [RESULT] [GIGABYTES ...]     prints a table; figures that goals ask for go to RESULT

Updates inside the compiled loop, reading, memory, logging, and what a sweep of 64 runs costs beside training. Each is
the median of repeated measurements, with their range, without the imports.
"""

# The stubs that pyright has for TensorFlow take no plain numbers.
# pyright: reportArgumentType=false
from __future__ import annotations

import contextlib
import io
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from experiments import reading
from experiments.measuring import REPEATS, fresh_folder, measure, middle
from experiments.reading import COLUMNS
from harness.cli import train
from harness.config import Loss, RuntimeConfig
from harness.data import synthetic_houses
from harness.data.blocks import SLICE_ROWS, Scaler
from harness.data.statistics import Column
from harness.models import linear
from harness.runtime.device import choose_device
from harness.sweep.summary_state import SummaryState
from harness.tracking.tracker import Tracker
from harness.training.encoding import Encoding
from harness.training.gram import GramChunks, GramSteps
from harness.training.lanes import Recipe, Stack
from harness.training.loops import make_loop
from harness.training.metrics import Evaluation
from harness.training.slices import DeviceBlock
from harness.training.tile import Lane, Tile

ROWS = 2_000_000
RATES = (0.003, 0.01, 0.03, 0.1)
UPDATES = ((1, 100, 1), (1, 1000, 1), (1, 10_000, 1), (64, 100, 1), (64, 1000, 1), (1024, 100, 1), (1, 100, 18))
"""Lanes, chunk, features."""


def update_seconds(lanes: int, chunk: int, features: int, rows: int = 1_000_000, *, gram: bool = False) -> list[float]:
    """Measure an update of `lanes` lanes inside the compiled loop, tiles of 8, on one thread, in seconds.

    With `gram`, from matrices that are there; else from the rows, as any model is trained.
    """
    stack = Stack(Recipe("linear", linear, {"name": "adam"}, Loss.mse), Encoding((0,) * features))
    loop = make_loop(stack, chunk, rows, GramSteps(stack) if gram else None)
    scaler = Scaler(np.zeros(features + 1), np.ones(features + 1), log_target=False)
    lane = Lane(chunk, stack.recipe, 0, 0.01, (1,))
    tiles = [
        Tile(dict.fromkeys(range(i, i + min(8, lanes)), lane), 8, stack, loop, Evaluation(stack, scaler, 8), 1000)
        for i in range(0, lanes, 8)
    ]
    x, y = tf.random.normal([rows + SLICE_ROWS, features]), tf.random.normal([rows + SLICE_ROWS, 1])
    block = DeviceBlock(0, rows, SLICE_ROWS, x, y)
    if isinstance(loop, GramChunks):
        block = block._replace(grams={chunk: loop.reduce(block)})

    def work() -> None:
        for tile in tiles:
            tile.advance(block)
            if tile.error:
                raise tile.error

    work()
    return [seconds / loop.updates for seconds in measure(work, 5)]


def logging_seconds(runs: int = 64, epochs: int = 20, points: int = 0) -> float:
    """Return the seconds from the first run's start to the last one's end on record, curves of `points` included."""
    with fresh_folder() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        Tracker(uri, "made before").close()
        columns = [Column(name, False, 1, 0.0, 1.0, 0.0, 1.0) for name in COLUMNS]
        metrics = ("train/loss", "val/loss", "val/rmse", "val/mae", "val/r2", "updates", "rows", "time/train_s")
        start = time.perf_counter()
        with Tracker(uri, "bench", folder / "outbox") as tracker:
            ids = [
                tracker.start_run(f"run {i}", {f"key.{k}": k for k in range(30)}, {"i": str(i)}) for i in range(runs)
            ]
            for run_id in ids:
                tracker.log_text(run_id, "chunksize: 100\n" * 30, "config.yaml")
                tracker.log_dataset(run_id, "bench", folder, "0" * 32, columns, {"training": 8, "holdout": 2})
            for epoch, run_id in itertools.product(range(1, epochs + 1), ids):
                tracker.log(run_id, dict.fromkeys(metrics, 1 / epoch), epoch)
                updates = range((epoch - 1) * points // epochs, epoch * points // epochs)
                tracker.log_curve(run_id, "train/chunk_loss", updates, [1 / epoch] * len(updates))
            for run_id in ids:
                tracker.end_run(run_id, "FINISHED")
        return time.perf_counter() - start


def command_seconds() -> float:
    """Return the seconds of a sweep of 64 runs by command that go to none of compiling, reading, training, evaluating.

    The table is there already; composing, checks, models, output folders and records are in it.
    """
    with fresh_folder() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        train.run(["data.rows=20000", "epochs=1", "tracking.log_model=none"])
        axes = {"chunksize": (100, 500, 1000, "full"), "learning_rate": RATES, "epochs": (5, 10, 15, 20)}
        words = [f"{key}={','.join(map(str, values))}" for key, values in axes.items()]
        start = time.perf_counter()
        train.run(["-m", "data.rows=20000", *words, "hydra.sweep.dir=sweep"])
        spent = SummaryState.read(folder / "sweep").seconds
        return time.perf_counter() - start - sum(spent[name] for name in ("compile", "read", "train", "evaluate"))


def main(result: str = "", *gigabytes: str) -> None:
    """Measure, and print the table."""
    choose_device(RuntimeConfig())
    path = Path(tempfile.gettempdir()) / f"harness-bench-{ROWS}.csv"
    if not path.exists():
        synthetic_houses.generate(path, ROWS)
    report = Table("part", "median (range)", "unit", "against", box=None, padding=(0, 2, 0, 0))
    found = {}
    for gram, (lanes, chunk, features) in itertools.product((False, True), UPDATES):
        seconds = update_seconds(lanes, chunk, features, gram=gram)
        source = "from matrices" if gram else "from rows"
        what = f"update {source}: {lanes} lanes, chunk {chunk}, {features} features, one thread"
        report.add_row(what, middle(seconds, 1e-6), "us", "")
        if not gram and (lanes, chunk, features) == (64, 100, 1):
            found["update_us"] = statistics.median(seconds) / 1e-6
    found["lanes"] = max(lanes for lanes, _, _ in UPDATES)
    reading.add_speeds(report, path, ROWS)
    for size in map(float, gigabytes):
        reading.add_memory(report, size)
    for points in (0, 1000):
        seconds = sorted(logging_seconds(points=points) for _ in range(REPEATS))
        curves = ", curves of 1,000 points" if points else ""
        report.add_row(f"logging 64 runs x 20 epochs{curves}", middle(seconds), "s", "")
    beside = sorted(command_seconds() for _ in range(REPEATS))
    report.add_row("64 runs: composing, folders and MLflow", middle(beside), "s", "")
    found["beside_s"] = statistics.median(beside)
    Console(width=150).print(report)
    if result:
        Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
