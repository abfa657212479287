"""The GPU rows of the benchmark: the trainer's loops by tile, and scans of many models over one table.

    python -m experiments.benchmark.gpu
    python -m experiments.benchmark.gpu --tiles mlp:64:1000 --scans mlp:1000:1000:10 --rows 1100000

A tile is MODEL:LANES:CHUNK, a scan MODEL:LANES:CHUNK:EPOCHS, with :TILE if it is not the default. docs/gpu.md has
results.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from harness.config import DataConfig, Device, Loss, Precision, RuntimeConfig, Scaling
from harness.data.blocks import SLICE_ROWS, Blocks
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.models import cnn, linear, mlp
from harness.runtime.device import choose_device, other_devices, usable_bytes
from harness.runtime.gpu_facts import gpu_facts
from harness.runtime.keras_settings import dtype_policy
from harness.training.encoding import Encoding
from harness.training.events import EpochEnd, Failed
from harness.training.lane import Lane
from harness.training.lanes import Recipe, Stack
from harness.training.loops import make_loop
from harness.training.losses import LossPlan, make_objective
from harness.training.slices import DeviceBlock
from harness.training.trainer import Scan

FEATURES, IMAGE = 18, (32, 32, 3)
MODELS = {"linear": linear, "mlp": mlp, "cnn": cnn}
TILES = "linear:8:100,linear:64:100,linear:1024:100,mlp:1:100,mlp:8:100,mlp:64:100,mlp:1024:100,mlp:64:1000,cnn:8:100"
SCANS = "mlp:64:100:2,mlp:64:100:2:8,mlp:1000:1000:2"
REPEATS, MOST_UPDATES = 3, 400


def recipe(model: str, table: Table, precision: str = Precision.float32.value) -> Recipe:
    """Return the recipe of a model trained with Adam and mean squared error, in a Keras dtype policy."""

    def build(inputs: int) -> keras.Model:
        with dtype_policy(precision):
            return MODELS[model](inputs)

    return Recipe(f"{model} {precision}", build, {"name": "adam"}, make_objective(LossPlan(Loss.mse.value), table))


def generated(folder: Path, rows: int) -> Table:
    """Return a table of random numbers whose target is nearly linear in the features."""
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, FEATURES), np.float32)
    y = x @ np.linspace(-1, 1, FEATURES, dtype=np.float32) + random.standard_normal(rows, np.float32)
    columns = {f"x{number}": column for number, column in enumerate(x.T)}
    pq.write_table(pa.table({**columns, "y": y}), folder / "rows.parquet")
    return open_table(DataConfig(features=[*columns], target="y", path=str(folder / "rows.parquet")), folder)


def time_tile(model: str, lanes: int, chunk: int, table: Table, device: str, precision: str) -> list[float]:
    """Return the seconds of the first call, and the microseconds per update in later calls."""
    random, shape = np.random.default_rng(0), IMAGE if model == "cnn" else (FEATURES,)
    rows = max(20 * chunk, 2_000 if model == "cnn" else 100_000)
    encoding = Encoding((0,), shape, (0.0,) * 3, (255.0,) * 3) if model == "cnn" else Encoding((0,) * FEATURES)
    stack = Stack(recipe(model, table, precision), encoding, device)
    overlap = stack.strategy.slice_rows
    pixels = random.integers(0, 256, (overlap + rows, *shape), np.uint8)
    with tf.device(device):
        x = tf.constant(pixels if model == "cnn" else np.float32(pixels / 128 - 1))
        y = tf.constant(random.standard_normal((overlap + rows, 1), np.float32))
        loop = make_loop(stack, chunk, rows)
        state = loop.start(stack.start([0] * lanes, [0.001] * lanes))
        found = []
        for attempt in range(1 + REPEATS):
            updates = min(rows // chunk, MOST_UPDATES) if attempt else 1
            begun = time.perf_counter()
            state, _ = loop.advance(state, DeviceBlock(0, updates * chunk, overlap, x, y))
            found.append((time.perf_counter() - begun) / updates)
    return [found[0], *(each * 1e6 for each in found[1:])]


def time_scan(
    model: str,
    lanes: int,
    chunk: int,
    epochs: int,
    tile: int | None,
    table: Table,
    devices: Sequence[str],
    workers: int | None,
    precision: str,
) -> str:
    """Train a scan, and describe its clocks and memory."""
    scaler = Scaler.of(table, Scaling.standard)
    kind = recipe(model, table, precision)
    each = [Lane(chunk, kind, 0, 10 ** (-4 + 2 * lane / lanes), (epochs,)) for lane in range(lanes)]
    train, holdout = Blocks(table, "train", scaler, overlap=SLICE_ROWS), Blocks(table, "holdout", scaler)
    device, *others = devices
    options = {"tile": tile, "workers": workers, "device": device, "device_bytes": usable_bytes(device, None)}
    begun = time.perf_counter()
    scan = Scan(each, train, holdout, Encoding.of(table, Scaling.standard), other_devices=others, **options)
    built, losses = time.perf_counter() - begun, []
    for event in scan.run():
        if isinstance(event, Failed):
            return f"failed: {event.reason}"
        if isinstance(event, EpochEnd) and event.epoch == epochs:
            losses.append(event.metrics["val/loss"])
    took, clocks, (cohort,) = time.perf_counter() - begun, scan.clocks, scan.cohorts
    memory = f"{scan.bytes / 1e6:.0f} MB computed"
    if "GPU" in device:
        memory += f", {tf.config.experimental.get_memory_info(device[1:])['peak'] / 1e6:.0f} MB at most so far"
    return (
        f"tile {cohort.tile}, {took:.1f} s: build {built:.1f}, compile {clocks.compile:.1f}, read {clocks.read:.1f}, "
        f"train {clocks.train:.2f}, evaluate {clocks.evaluate:.2f}; "
        f"{lanes * table.train_rows * epochs / clocks.train / 1e6:.0f} M lane-rows/s; {memory}; loss {min(losses):.6f}"
    )


def measured(
    tiles: list[str], scans: list[str], rows: int, devices: Sequence[str], workers: int | None, precision: str
) -> Iterator[str]:
    """Yield a line for each tile, measured on the first device, and for each scan."""
    with tempfile.TemporaryDirectory() as folder:
        table = generated(Path(folder), rows)
        for words in tiles:
            model, lanes, chunk = words.split(":")
            first, *each = time_tile(model, int(lanes), int(chunk), table, devices[0], precision)
            yield f"tile {words}: {statistics.median(each):.1f} us per update, {first:.2f} s for the first call"
        for words in scans:
            model, *numbers = words.split(":")
            lanes, chunk, epochs, *tile = map(int, numbers)
            name = f"scan {words}, {table.train_rows:,} rows"
            length = tile[0] if tile else None
            yield f"{name}: {time_scan(model, lanes, chunk, epochs, length, table, devices, workers, precision)}"


def main() -> None:
    """Print the lines for the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", default=TILES)
    parser.add_argument("--scans", default=SCANS)
    parser.add_argument("--rows", type=int, default=1_100_000)
    parser.add_argument("--workers", type=int, help="parallel calls")
    parser.add_argument("--precision", type=Precision, choices=[*Precision], default=Precision.float32)
    parser.add_argument("--device", type=Device, choices=[*Device], default=Device.gpu)
    parser.add_argument("--devices", help="indices of several devices, such as 0,1")
    given = parser.parse_args()
    runtime = RuntimeConfig(given.device, [*map(int, given.devices.split(","))] if given.devices else None)
    device, description = choose_device(runtime)
    print(f"TensorFlow {tf.__version__}, {description}, {gpu_facts() if 'GPU' in device else ''}")
    tiles, scans = ([each for each in words.split(",") if each] for words in (given.tiles, given.scans))
    for line in measured(
        tiles, scans, given.rows, (device, *other_devices(runtime)), given.workers, given.precision.value
    ):
        print(line, flush=True)


if __name__ == "__main__":
    main()
