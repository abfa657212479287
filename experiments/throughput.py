"""How fast is the trainer, against the plain loop, a bare parse of the file, and itself with one run?

    make bench               2 million rows, some minutes
    BENCH=full make bench    20 million rows

Each figure is the median of repeated measurements, with their range; ratios are of figures of one call. Times leave
out the imports. Expected: a few microseconds an update, and sixty-four runs in little more than the time of one.
"""

# The stubs that pyright has for TensorFlow take no plain numbers.
# pyright: reportArgumentType=false
from __future__ import annotations

import contextlib
import io
import itertools
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from experiments import reading
from experiments.measuring import REPEATS, fresh_folder, measure, middle
from experiments.reading import COLUMNS
from harness import app, houses
from harness.blocks import SLICE_ROWS, Scaler
from harness.config import Config, DataConfig, LogModel, Loss, RuntimeConfig, TrackingConfig
from harness.device import choose_device
from harness.encoding import Encoding
from harness.evaluate import Evaluation
from harness.lanes import Recipe, Stack
from harness.loops import Rows, make_loop
from harness.models import linear
from harness.note import Note
from harness.progress import Display
from harness.statistics import Column
from harness.sweep import train
from harness.tile import Lane, Tile
from harness.tracking import Tracker

FULL = os.environ.get("BENCH") == "full"
ROWS = 20_000_000 if FULL else 2_000_000
CHUNKS = (100, 1000, 10_000, "full")
RATES = (0.003, 0.01, 0.03, 0.1)
EPOCHS = (2, 4, 7, 10)


def update_seconds(lanes: int, chunk: int, features: int, rows: int = 1_000_000) -> list[float]:
    """Measure an update of `lanes` lanes inside the compiled loop, tiles of 8, on one thread, in seconds."""
    stack = Stack(Recipe("linear", linear, {"name": "adam"}, Loss.mse), Encoding((0,) * features))
    loop = make_loop(stack, chunk, rows)
    scaler = Scaler(np.zeros(features + 1), np.ones(features + 1), log_target=False)
    lane = Lane(chunk, stack.recipe, 0, 0.01, (1,))
    tiles = [
        Tile(dict.fromkeys(range(i, i + min(8, lanes)), lane), 8, stack, loop, Evaluation(stack, scaler, 8))
        for i in range(0, lanes, 8)
    ]
    x, y = tf.random.normal([rows + SLICE_ROWS, features]), tf.random.normal([rows + SLICE_ROWS, 1])
    block = Rows(0, rows, SLICE_ROWS, x, y)

    def work() -> None:
        for tile in tiles:
            tile.advance(block)
            if tile.error:
                raise tile.error

    work()
    return [seconds / loop.updates for seconds in measure(work, 5)]


def plain_loop_seconds(path: Path) -> float:
    """Return the seconds that all configurations would take in the plain loop, one after another.

    Each chunk size is timed on a part of the file, and scaled to all rows and epochs.
    """
    total = 0.0
    passes = sum(EPOCHS) * len(RATES)
    for chunk in CHUNKS:
        size = ROWS if chunk == "full" else int(chunk)
        part = min(size * 200, 2_000_000)
        intercept, slope = tf.Variable(0.1), tf.Variable(0.1)
        optimizer = keras.optimizers.Adam(0.01)
        optimizer.build([intercept, slope])
        start, rows = time.perf_counter(), 0
        for frame in pd.read_csv(path, chunksize=min(size, part), usecols=COLUMNS, nrows=part):
            x, y = (tf.constant(frame[name].to_numpy(), tf.float32) for name in COLUMNS)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((intercept + slope * x - y) ** 2)
            optimizer.apply(tape.gradient(loss, [intercept, slope]), [intercept, slope])
            rows += len(frame)
        total += (time.perf_counter() - start) * ROWS / rows * passes
    return total


def sweep_seconds(path: Path, chunks: tuple, rates: tuple, epochs: tuple) -> float:
    """Return the seconds from a CSV without a table to runs on record in a new store."""
    with fresh_folder() as folder:
        configs = [
            Config(
                chunksize=chunk,
                learning_rate=rate,
                epochs=count,
                seed=0,
                loss=Loss.mse,
                data=DataConfig(features=COLUMNS[:1], target=COLUMNS[1], path=str(path)),
                model={"_target_": "harness.models.linear", "init": 0.1},
                optimizer={"name": "adam"},
                tracking=TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db", log_model=LogModel.best),
                runtime=RuntimeConfig(cache=str(folder)),
            )
            for chunk, rate, count in itertools.product(chunks, rates, epochs)
        ]
        start = time.perf_counter()
        runs = train(configs, Display(Console(quiet=True)), command="make bench", folder=folder / "sweep")
        seconds = time.perf_counter() - start
        if any(run.status != "FINISHED" for run in runs):
            raise RuntimeError(f"a run of the benchmark failed: {[run.reason for run in runs if run.reason]}")
        return seconds


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
        app.run(["data.rows=20000", "epochs=1", "tracking.log_model=none"])
        axes = {"chunksize": (100, 500, 1000, "full"), "learning_rate": RATES, "epochs": (5, 10, 15, 20)}
        words = [f"{key}={','.join(map(str, values))}" for key, values in axes.items()]
        start = time.perf_counter()
        app.run(["-m", "data.rows=20000", *words, "hydra.sweep.dir=sweep"])
        spent = Note.read(folder / "sweep").seconds
        return time.perf_counter() - start - sum(spent[name] for name in ("compile", "read", "train", "evaluate"))


def main() -> None:
    """Measure, and print the table."""
    _, device = choose_device(RuntimeConfig())
    path = Path(tempfile.gettempdir()) / f"harness-bench-{ROWS}.csv"
    if not path.exists():
        houses.generate(path, ROWS)
    report = Table("what", "median (range)", "unit", "against", box=None, padding=(0, 2, 0, 0))
    title = (
        f"{platform.machine()}, {os.cpu_count()} cores, {device}, {ROWS:,} rows, {path.stat().st_size / 1e6:,.0f} MB"
    )

    for lanes, chunk, features in (
        (1, 100, 1),
        (1, 1000, 1),
        (1, 10_000, 1),
        (64, 100, 1),
        (64, 1000, 1),
        (1, 100, 18),
    ):
        what = f"update: {lanes} lanes, chunk {chunk}, {features} features, one thread"
        report.add_row(what, middle(update_seconds(lanes, chunk, features), 1e-6), "us", "")

    bare = reading.add_speeds(report, path, ROWS)
    for gigabytes in (1, 10, 100) if FULL else (1, 10):
        reading.add_memory(report, gigabytes)
    many = sorted(sweep_seconds(path, CHUNKS, RATES, EPOCHS) for _ in range(REPEATS))
    one = sorted(sweep_seconds(path, CHUNKS[:1], RATES[:1], EPOCHS[-1:]) for _ in range(REPEATS))
    runs, longest = statistics.median(many), statistics.median(one)
    report.add_row(
        "64 runs, table not yet there, records included", middle(many), "s", f"{runs / bare:.2f} bare parses"
    )
    report.add_row("the longest of them alone", middle(one), "s", f"T(64)/T(1) = {runs / longest:.2f}")
    for points in (0, 1000):
        seconds = sorted(logging_seconds(points=points) for _ in range(REPEATS))
        curves = ", curves of 1,000 points" if points else ""
        report.add_row(f"logging 64 runs x 20 epochs{curves}", middle(seconds), "s", "")
    beside = sorted(command_seconds() for _ in range(REPEATS))
    report.add_row("64 runs: composing, folders and MLflow", middle(beside), "s", "")
    plain = plain_loop_seconds(path)
    report.add_row(
        "64 runs in the plain loop, scaled from a part", f"{plain:,.0f}", "s", f"{plain / runs:,.0f} times ours"
    )

    console = Console(width=150)
    console.print(title, report, sep="\n")


if __name__ == "__main__":
    main()
