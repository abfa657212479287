"""What loops are made of: rows and what goes from block to block, and the slices in which long chunks are summed up.

Which rows make an update follows from row numbers alone; where a block ends does not show in any number.
"""

# The stubs that pyright has for TensorFlow know no static shapes.
# pyright: reportOptionalSubscript=false, reportReturnType=false, reportArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python.xla import dynamic_slice

from harness.training.lanes import State

Grams = np.ndarray | Exception
"""Matrices of slices, float64 `[slices, columns, columns]` (see `harness.training.gram`), or why there are none."""


class Rows(NamedTuple):
    """A block as tensors.

    Attributes:
        start: The number of the block's first row.
        stop: The number after its last row.
        overlap: Rows in front of row `start`.
        x: float32 `[capacity, features]`; None where `grams` say all that is wanted of the rows.
        y: float32 `[capacity, 1]`, likewise.
        grams: By chunk, the matrices of the slices that end there.
    """

    start: int
    stop: int
    overlap: int
    x: tf.Tensor | None
    y: tf.Tensor | None
    grams: Mapping[int, Grams] = MappingProxyType({})


class Carry(NamedTuple):
    """What goes from block to block.

    Attributes:
        state: Of the lanes.
        epoch_loss: Sum over this epoch's updates of rows times loss, float64 `[tile]`.
        partial: Sums over the rows so far of a chunk that is under way, float64; which, is the loop's business.
    """

    state: State
    epoch_loss: tf.Tensor
    partial: list[tf.Tensor]


class Slices:
    """The pieces in which chunks are summed up: of one length, counted from each chunk's start, the last one shorter.

    Attributes:
        length: Rows of a slice.
        each: Slices of a whole chunk.
        updates: Chunks of an epoch.
    """

    def __init__(self, chunk: int, rows: int, length: int) -> None:
        self.length, self.each, self.updates = length, -(-chunk // length), -(-rows // chunk)
        self._chunk, self._rows = chunk, rows

    def most(self, capacity: int) -> int:
        """Return how many slices can end in a block whose arrays have `capacity` rows."""
        # Where a chunk is not one slice, its last one may be short; all such chunks have arrays of one length.
        return capacity // self.length * (1 if self._chunk == self.length else 2) + 2

    def of(self, rows: Rows, most: int) -> Plan:
        """Lay out the slices that end in a block, in arrays of the length `most`."""
        numbers = np.arange(self._before(rows.start), self._before(rows.stop))
        chunk_start = numbers // self.each * self._chunk
        chunk_stop = np.minimum(chunk_start + self._chunk, self._rows)
        start = chunk_start + numbers % self.each * self.length
        stop = np.minimum(start + self.length, chunk_stop)
        columns = (
            stop - self.length - rows.start + rows.overlap,
            stop - start,
            (chunk_stop - chunk_start) * (stop == chunk_stop),
        )
        padded = np.zeros((3, most))
        padded[:, : len(numbers)] = columns
        windows, inside = padded[:2].astype(np.int32)
        updates = self._updates_before(rows.stop) - self._updates_before(rows.start)
        return Plan(windows, inside, padded[2], len(numbers), updates)

    def _updates_before(self, row: int) -> int:
        return -(-row // self._chunk) if row == self._rows else row // self._chunk

    def _before(self, row: int) -> int:
        chunks, rest = divmod(row, self._chunk)
        return chunks * self.each + (-(-rest // self.length) if row == self._rows else rest // self.length)


@dataclass(frozen=True)
class Plan:
    """The slices that end in a block.

    Attributes:
        windows: Where in the block's arrays the window of each slice begins, int32; a window has a slice's length and
            ends where the slice ends.
        inside: Rows of the window that are the slice's, int32.
        of_chunk: Rows of the slice's chunk, float64, if it ends there, else 0.
        count: How many of these there are; what follows them is padding.
        updates: How many chunks end in the block.
    """

    windows: np.ndarray
    inside: np.ndarray
    of_chunk: np.ndarray
    count: int
    updates: int


def zeros(state: State) -> tf.Tensor:
    """Return a sum of nothing for each lane, float64 `[tile]`."""
    return tf.zeros(state.optimizer[0].shape[0], tf.float64)


def rows_of(values: tf.Tensor, start: tf.Tensor, count: int) -> tf.Tensor:
    """Return rows `[start, start + count)`."""
    # With tf.slice, XLA would compile the loop anew for each place that it begins at.
    start_indices = tf.stack([start, 0])
    return dynamic_slice(values, start_indices, [count, values.shape[1]])


def put(values: tf.Tensor, index: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Return `values` with `value` in the place `index` of the first axis."""
    return tf.tensor_scatter_nd_update(values, [[index]], value[None])
