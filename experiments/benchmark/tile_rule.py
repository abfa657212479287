"""Measures how far the default tiles are from the fastest ones, for small and large models and 1 to 256 lanes.

    python -m experiments.benchmark.tile_rule
    python -m experiments.benchmark.tile_rule --models mlp,wide --lanes 8,64

The tiles are those that `harness tune` tries, and are compared as it does: scans of the same lanes take turns in one
process, and the shortest lap counts. Times in parentheses are from earlier laps than the others. docs/benchmark.md has
results.
"""

from __future__ import annotations

import argparse
import functools
import io
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from experiments.benchmark.gpu import generated
from harness.config import Device, Loss, RuntimeConfig, Scaling
from harness.config.images import ImagesConfig, LabelType
from harness.data.blocks import SLICE_ROWS, Blocks
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.models import cnn, linear, mlp
from harness.runtime.device import choose_device, usable_bytes
from harness.training.encoding import Encoding
from harness.training.lane import Lane
from harness.training.lanes import Recipe
from harness.training.losses import LossPlan, make_objective
from harness.training.tile_length import candidates
from harness.training.tile_trial import TRYING_SECONDS, Comparison, TileTrial, compare
from harness.training.trainer import Scan

SIDE = 32
"""Height and width of the images."""


class Case(NamedTuple):
    """A model, the rows of one update, and the rows of the table."""

    build: Any
    chunk: int
    rows: int
    title: str
    gram: bool = False


MODELS = {
    "linear": Case(linear, 100, 66_000, "linear, from rows"),
    "gram": Case(linear, 100, 66_000, "linear, from Gram matrices", gram=True),
    "mlp": Case(mlp, 1000, 16_500, "MLP 18-64-64-1"),
    "wide": Case(functools.partial(mlp, units=(306, 306)), 1000, 1250, "MLP 18-306-306-1"),
    "cnn": Case(cnn, 100, 250, f"CNN, {SIDE} x {SIDE} x 3"),
}


def images(folder: Path, count: int) -> Table:
    """Return a table of random images whose labels are random numbers."""
    random, files = np.random.default_rng(0), []
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(file, "png")
        files.append(file.getvalue())
    pq.write_table(pa.table({"image": files, "label": random.standard_normal(count)}), folder / "images.parquet")
    config = ImagesConfig([SIDE, SIDE], path=str(folder / "images.parquet"), label_type=LabelType.number)
    return open_table(config, folder)


def scan_of(case: Case, lanes: int, tile: int | None, table: Table) -> Scan:
    """Return a scan that never ends by itself."""
    scaler = Scaler.of(table, Scaling.standard)
    recipe = Recipe("model", case.build, {"name": "adam"}, make_objective(LossPlan(Loss.mse.value), table))
    each = [Lane(case.chunk, recipe, 0, 10 ** (-5 + lane / lanes), (1_000_000,)) for lane in range(lanes)]
    device, _ = choose_device(RuntimeConfig(Device.auto))
    train = Blocks(table, "train", scaler, overlap=SLICE_ROWS)
    return Scan(
        *(each, train, Blocks(table, "holdout", scaler), Encoding.of(table, Scaling.standard)),
        tile=tile,
        gram=case.gram,
        device=device,
        device_bytes=usable_bytes(device, None),
        curve_points=0,
    )


def compared(case: Case, lanes: int, table: Table) -> tuple[int, Comparison]:
    """Return the default tile, and the microseconds per lane and update by tile."""
    options = scan_of(case, lanes, None, table).cohorts[0].options
    factor = case.chunk / lanes * 1e6
    lengths = candidates(lanes, options.longest)
    return options.default, compare(
        lambda tile: TileTrial(scan_of(case, lanes, tile, table), factor), options.default, lengths
    )


def main() -> None:
    """Print a line for each model and number of lanes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--lanes", default="1,8,64,256")
    given = parser.parse_args()
    print("| model | lanes | default tile | fastest tile | ratio | µs per lane and update, by tile |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.models.split(","):
            case = MODELS[name]
            place = Path(folder, name)
            place.mkdir()
            table = (images if name == "cnn" else generated)(place, case.rows)
            for lanes in map(int, given.lanes.split(",")):
                default, found = compared(case, lanes, table)
                micros = found.seconds
                best = min(found.finalists, key=micros.__getitem__)
                each = (f"{tile}: {number(micros[tile])}" for tile in micros)
                times = ", ".join(
                    time if tile in found.finalists else f"({time})" for tile, time in zip(micros, each, strict=True)
                )
                times += f"; no others after {TRYING_SECONDS} s" if found.is_cut else ""
                cells = f"{case.title} | {lanes} | {default} | {best} | {micros[default] / micros[best]:.2f}"
                print(f"| {cells} | {times} |", flush=True)


def number(value: float) -> str:
    """Format a number with three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
