"""Sends decoded images through a frozen model, in batches and in order."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config import ImagesConfig
from harness.config.images import TARGET
from harness.data.images.backbone import build_backbone, keep_backbone, keep_example
from harness.data.images.reading import Read
from harness.data.images.set import Rejected
from harness.data.tables.manifest import Embedding
from harness.errors import ConfigError
from harness.runtime.model_values import row_values
from harness.runtime.prefetch import map_ahead

if TYPE_CHECKING:
    import keras

BATCH_BYTES = 64 << 20
"""Memory for the values that the model computes at once; fixed, so that rounding does not depend on the machine."""
BATCH_ROWS = 64
EXAMPLES = 3


class Embedder:
    """Replaces the pixels of images with a model's output.

    Attributes:
        values: Number of values per image.
        kept: The record that identifies the model in the table's folder.
    """

    def __init__(self, model: keras.Model, kept: Embedding) -> None:
        """Wrap a model that maps uint8 `[images, height, width, channels]` to `[images, values]`."""
        import tensorflow as tf

        self.kept = kept
        outputs: Any = model.output
        self.values: int = outputs.shape[1]
        self._examples: list[np.ndarray] = []
        fitting = max(min(BATCH_BYTES // (4 * row_values(model)), BATCH_ROWS), 1)
        self._rows = 1 << fitting.bit_length() - 1
        self._shape = model.inputs[0].shape[1:]
        function: Any = tf.function(lambda pixels: model(pixels, training=False), autograph=False)
        self._call: Callable[[np.ndarray], Any] = lambda pixels: function(tf.constant(pixels))
        # Batches are computed in parallel, because threads within an operation might change its rounding.
        threads = tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
        self._workers = max(len(os.sched_getaffinity(0)) // threads, 1)

    @classmethod
    def of(cls, data: ImagesConfig, weights: str, folder: Path) -> Embedder:
        """Build the model of `data.embed` with its weights from a file, and write it into a table's folder.

        Raises:
            ConfigError: The model cannot be built or saved.
        """
        model = build_backbone(data.backbone, weights, data.shape)
        return cls(model, keep_backbone(model, data.backbone[TARGET], folder))

    def keep_examples(self, folder: Path) -> None:
        """Write the first images into the table's folder, as example inputs of exported models."""
        keep_example(folder, np.stack(self._examples))

    def embedded(self, images: Iterable[Read | Rejected]) -> Generator[Read | Rejected]:
        """Yield all images, in order.

        Raises:
            ConfigError: The model returns a value that is not finite.
        """
        batches = map_ahead(self._embed, self._batched(images), self._workers, 2 * self._workers)
        with contextlib.closing(batches):
            yield from itertools.chain.from_iterable(batches)

    def _batched(self, images: Iterable[Read | Rejected]) -> Generator[list[Read | Rejected]]:
        batch: list[Read | Rejected] = []
        count = 0
        for image in images:
            batch.append(image)
            if isinstance(image, Read):
                count += 1
                if len(self._examples) < EXAMPLES:
                    self._examples.append(image.image.pixels)
            if count == self._rows or len(batch) == 4 * self._rows:
                yield batch
                batch, count = [], 0
        yield batch

    def _embed(self, batch: list[Read | Rejected]) -> list[Read | Rejected]:
        reads = [image for image in batch if isinstance(image, Read)]
        if not reads:
            return batch
        # All batches have the size for which the model is compiled.
        pixels = np.zeros((self._rows, *self._shape), np.uint8)
        for row, read in enumerate(reads):
            pixels[row] = read.image.pixels
        values = np.asarray(self._call(pixels), np.float32)[: len(reads)]
        for read, row in zip(reads, values, strict=True):
            if not np.isfinite(row).all():
                raise ConfigError(f"data.embed: the model returns NaN or infinity for {read.item.name}.")
        found = iter(values)
        return [
            image._replace(image=replace(image.image, pixels=next(found))) if isinstance(image, Read) else image
            for image in batch
        ]
