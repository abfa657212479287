"""Predicts images with a logged model: decodes them as for training, and writes predictions, in constant memory."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.cli.output import warn
from harness.cli.prediction_file import sink_of, write_rows
from harness.cli.predictions import Predictions
from harness.cli.saved_model import rows_per_batch
from harness.config import ImagesConfig, Unreadable
from harness.data.images.folder import any_images
from harness.data.images.reading import Read, read_images
from harness.data.images.set import Rejected
from harness.errors import ConfigError, require

BATCH_ROWS = 64
"""Maximum number of images predicted at once."""

PATH = "path"


def predict_images(model: Any, predictions: Predictions, data: ImagesConfig, path: Path, output: Path | None) -> None:
    """Write the path of each image in a folder, or of a single image, with its prediction.

    Raises:
        ConfigError: There are no images, or an image cannot be used and may not be left out.
    """
    (name,) = model.input
    shape = tuple(model.input[name].shape[1:])
    require(shape == data.shape, f"The run's model takes images of shape {shape}, but its record says {data.shape}.")
    require(path.exists(), f"PATH: no such file or folder: {path}")
    rows = min(BATCH_ROWS, rows_per_batch(model))
    with contextlib.closing(read_images(any_images(path), data)) as found:
        # Check before opening the output, so that an existing file is not replaced with an empty one.
        batches = _batches(_usable(found, data), rows)
        first = next(batches, None)
        if first is None:
            raise ConfigError(f"PATH: {path} has no images.")
        with sink_of(output) as sink:
            write_rows([PATH, *predictions.columns], sink)
            for batch in itertools.chain([first], batches):
                outputs = np.asarray(model({name: np.stack([read.image.pixels for read in batch])}, training=False))
                names = pd.DataFrame({PATH: [read.item.name for read in batch]})
                write_rows(names.assign(**predictions.named(outputs)), sink)


def _usable(found: Iterable[Read | Rejected], data: ImagesConfig) -> Iterator[Read]:
    """Yield the usable images; report or reject the others, as the run did."""
    for result in found:
        if isinstance(result, Read):
            yield result
        elif data.unreadable is Unreadable.drop:
            warn(f"left out: {result.name} {result.reason}")
        else:
            raise ConfigError(f"{result.name} {result.reason}. Fix or remove it.")


def _batches(images: Iterator[Read], size: int) -> Iterator[list[Read]]:
    while batch := list(itertools.islice(images, size)):
        yield batch
