"""Writes one part of a table of images, or of a model's output for them, page by page, with statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.config import Order
from harness.data.images.feature_statistics import statistics_of
from harness.data.precision import Offsets, rounding_error
from harness.data.shuffle import Shuffle
from harness.data.statistics import Column, Moments
from harness.data.tables.pages import ColumnWriter, Part, column_path, in_pages


class ImageWriter:
    """Writes the pixels and labels of one part, and computes their statistics.

    Attributes:
        rows: Images added so far.
        labels: Number of images added so far for each class; empty if labels are numbers.
    """

    def __init__(
        self,
        folder: Path,
        part: Part,
        columns: Sequence[Column],
        page_rows: int,
        order: Order,
        seed: int,
        offsets: Offsets,
    ) -> None:
        """Prepare to write; `offsets` decides the offset of numeric labels."""
        self.rows = 0
        pixels, target = columns
        self.labels = np.zeros(len(target.categories), np.int64)
        self._columns = pixels, target
        self._pixels = np.empty((page_rows, *pixels.shape), pixels.file_type)
        self._targets = np.empty(page_rows)
        self._offsets = offsets
        self._filled = 0
        self._files = [
            ColumnWriter(column_path(folder, part, index), column, page_rows) for index, column in enumerate(columns)
        ]
        self._row_bytes = sum(column.value_bytes for column in columns)
        is_shuffled = part == "train" and order is Order.shuffled
        self._shuffle = Shuffle(folder / "shuffle", self._row_bytes, seed, kind=np.uint8) if is_shuffled else None
        self._features = statistics_of(pixels)
        self._moments, self._rounding = Moments(), 0.0

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    def add(self, pixels: np.ndarray, target: float) -> None:
        """Add an image, `[*shape]`, with the index of its class or its numeric label."""
        self._pixels[self._filled], self._targets[self._filled] = pixels, target
        self._filled += 1
        self.rows += 1
        if len(self.labels):
            self.labels[int(target)] += 1
        if self._filled == len(self._pixels):
            self.flush()

    def flush(self) -> None:
        """Write the current page, and add it to the statistics."""
        pixels, values = self._pixels[: self._filled], self._targets[: self._filled]
        if not self._filled:
            return
        offset = float(self._offsets.values()[0])
        targets = (values - offset).astype(self._columns[1].file_type)
        self._features.add(pixels)
        self._moments.add(values)
        self._rounding = max(self._rounding, rounding_error(values, targets, offset, self._moments))
        if self._shuffle:
            # A transposed view; the shuffle transposes it back.
            self._shuffle.add(np.concatenate([_bytes(pixels), _bytes(targets)], axis=1).T)
        else:
            self._write(pixels, targets)
        self._filled = 0

    def finish(self) -> tuple[tuple[Column, ...], bytes]:
        """Shuffle images if requested; return the columns with statistics, and the checksums of all pages."""
        self.flush()
        pixels, target = self._columns
        if self._shuffle:
            for page in in_pages(self._shuffle.rows(), len(self._pixels)):
                rows = np.ascontiguousarray(page.T)
                images, targets = np.split(rows, [pixels.value_bytes], axis=1)
                images = np.ascontiguousarray(images).view(pixels.file_type)
                self._write(images, np.ascontiguousarray(targets).view(target.file_type)[:, 0])
        for file in self._files:
            file.finish()
        described = replace(self._features.describe(pixels), count=self.rows), self._described_target(target)
        return described, b"".join(file.sums for file in self._files)

    def _write(self, pixels: np.ndarray, targets: np.ndarray) -> None:
        for file, values in zip(self._files, (pixels, targets), strict=True):
            file.append(values)

    def _described_target(self, column: Column) -> Column:
        found = self._moments
        if column.categories:
            return replace(column, count=self.rows)
        column = replace(column, offset=float(self._offsets.values()[0]), rounding=self._rounding)
        return replace(column, count=self.rows, mean=found.mean, std=found.std, min=found.min, max=found.max)


def _bytes(values: np.ndarray) -> np.ndarray:
    """Return the bytes of each row, uint8 `[rows, bytes]`."""
    return np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)
