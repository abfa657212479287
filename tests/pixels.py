"""Makes tables of small images, and a small model for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from harness.config import Order
from harness.data.statistics import Column
from harness.data.tables.manifest import Facts, digest_of
from harness.data.tables.pages import PARTS, ColumnWriter, column_path, page_rows_of
from harness.data.tables.table import Table

SHAPE = (8, 8, 3)


def pixel_table(folder: Path, rows: tuple[int, int] = (300, 60), shape: tuple[int, int, int] = SHAPE) -> Table:
    """Write a table of random images and return it; the target is a number that depends on the image."""
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (count, *shape), np.uint8) for count in rows]
    targets = [each[:, 2:6, 2:6, 0].mean((1, 2)).astype(np.float32) / 64 - 2 for each in pixels]
    train = pixels[0].astype(float)
    columns = (
        Column(
            "image",
            False,
            rows[0],
            float(train.mean()),
            float(train.std()),
            0.0,
            255.0,
            dtype="uint8",
            shape=shape,
            channel_means=tuple(train.mean((0, 1, 2)).tolist()),
            channel_stds=tuple(train.std((0, 1, 2)).tolist()),
        ),
        Column("y", False, rows[0], 0.0, 1.0, -2.0, 2.0),
    )
    sums = b""
    for part, x, y in zip(PARTS, pixels, targets, strict=True):
        for index, (column, values) in enumerate(zip(columns, (x, y), strict=True)):
            file = ColumnWriter(column_path(folder, part, index), column, page_rows_of(columns))
            file.append(values)
            file.finish()
            file.close()
            sums += bytes(file.sums)
    facts = Facts(columns[:1], columns[1:], page_rows_of(columns), *rows, 0, 0, "")
    place: dict[str, Any] = {"folder": folder, "address": str(folder / "images")}
    return Table(**facts.values(), **place, digest=digest_of(facts, sums), order=Order.file, split_seed=0, sums=sums)


def small_cnn(inputs: tuple[int, ...]) -> keras.Model:
    """Build a convolution, max-pooling and a dense layer."""
    layers = keras.layers
    hidden = [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten()]
    return keras.Sequential([keras.Input(inputs), *hidden, layers.Dense(1)])


def with_batch_norm(inputs: tuple[int, ...]) -> keras.Model:
    """Build a convolution with batch normalization, and a dense layer."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(inputs),
            layers.Conv2D(2, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
