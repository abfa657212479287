"""Shared by the training loops: blocks on a device, state between blocks, and the slices of long chunks.

Which rows make up an update depends only on row numbers, so block boundaries never affect results.
"""

# TensorFlow's stubs do not know static shapes.
# pyright: reportArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from harness.training.lanes import LaneState

Grams = np.ndarray | Exception
"""Gram matrices of slices, float64 `[slices, columns, columns]`, or the error that prevented them."""


class NotSent(Exception):
    """A block could not be sent to a device."""


class DeviceBlock(NamedTuple):
    """A block of rows as tensors.

    Attributes:
        start: Number of the first row.
        stop: Number after the last row.
        overlap: Number of rows before row `start`.
        x: `[capacity, features]` or `[capacity, *shape]`, as in `harness.data.blocks.Block`, on the first device; None
            if all loops use `grams`, or if it could not be sent there.
        y: float32 `[capacity, 1]`; None in the same cases.
        grams: Gram matrices of the slices that end in the block, keyed by chunk.
        grams_start: Number of the first row of the block to which `grams` belong; None if it is `start`.
        others: `x` and `y` on other devices, by name, or the error that prevented sending them to a device.
    """

    start: int
    stop: int
    overlap: int
    x: tf.Tensor | None
    y: tf.Tensor | None
    grams: Mapping[int, Grams] = MappingProxyType({})
    grams_start: int | None = None
    others: Mapping[str, tuple[tf.Tensor, tf.Tensor] | Exception] = MappingProxyType({})

    def on(self, device: str) -> DeviceBlock:
        """Return the block with the tensors on a device; raises the error that prevented it."""
        found = self.others.get(device, (self.x, self.y))
        if isinstance(found, Exception):
            raise NotSent(f"{device}: {type(found).__name__}: {found}") from found
        return self._replace(x=found[0], y=found[1], others=MappingProxyType({}))

    def part(self, start: int, stop: int) -> DeviceBlock:
        """Return rows `[start, stop)` of the block, with the same tensors."""
        whole = self.start if self.grams_start is None else self.grams_start
        overlap = self.overlap + start - self.start
        return self._replace(start=start, stop=stop, overlap=overlap, grams_start=whole)


class LoopState(NamedTuple):
    """The state that a loop carries from block to block.

    Attributes:
        lanes: Weights and optimizer state of all lanes.
        epoch_loss: Sum of rows times loss over the epoch's updates so far, float64 `[tile]`.
        partial: Sums over the rows so far of an unfinished chunk, float64; each loop has its own.
    """

    lanes: LaneState
    epoch_loss: tf.Tensor
    partial: list[tf.Tensor]


class Slices:
    """The division of long chunks into slices of fixed length, from the chunk's start; the last slice may be shorter.

    Attributes:
        length: Rows per slice.
        per_chunk: Slices per full chunk.
        updates: Chunks per epoch.
    """

    def __init__(self, chunk: int, rows: int, length: int) -> None:
        self.length, self.per_chunk, self.updates = length, -(-chunk // length), -(-rows // chunk)
        self._chunk, self._rows = chunk, rows

    def layout(self, block: DeviceBlock, capacity: int | None = None) -> SliceLayout:
        """Return the slices that end in a block, in arrays of length `capacity`, by default the maximum."""
        if capacity is None:
            # The last slice of a chunk may be short; a common bound for all chunks gives arrays of equal length.
            capacity = len(block.x) // self.length * (1 if self._chunk == self.length else 2) + 2
        numbers = np.arange(self.before(block.start), self.before(block.stop))
        chunk_start = numbers // self.per_chunk * self._chunk
        chunk_stop = np.minimum(chunk_start + self._chunk, self._rows)
        start = chunk_start + numbers % self.per_chunk * self.length
        stop = np.minimum(start + self.length, chunk_stop)
        columns = np.zeros((3, capacity))
        columns[:, : len(numbers)] = (
            stop - self.length - block.start + block.overlap,
            stop - start,
            (chunk_stop - chunk_start) * (stop == chunk_stop),
        )
        windows, inside = columns[:2].astype(np.int32)
        updates = self._chunks_before(block.stop) - self._chunks_before(block.start)
        return SliceLayout(windows, inside, columns[2], len(numbers), updates)

    def _chunks_before(self, row: int) -> int:
        return -(-row // self._chunk) if row == self._rows else row // self._chunk

    def before(self, row: int) -> int:
        """Return the number of slices that end before a row."""
        chunks, rest = divmod(row, self._chunk)
        return chunks * self.per_chunk + (-(-rest // self.length) if row == self._rows else rest // self.length)


@dataclass(frozen=True)
class SliceLayout:
    """The slices that end in a block.

    Attributes:
        windows: First row of each slice's window in the block's arrays, int32. A window has the length of a full slice
            and ends where its slice ends.
        inside: Number of rows of the window that belong to the slice, int32.
        chunk_rows: Rows of the slice's chunk if the chunk ends with it, else 0; float64.
        count: Number of slices; the rest of the arrays is padding.
        updates: Number of chunks that end in the block.
    """

    windows: np.ndarray
    inside: np.ndarray
    chunk_rows: np.ndarray
    count: int
    updates: int


def zero_losses(lanes: LaneState) -> tf.Tensor:
    """Return a zero for each lane, float64 `[tile]`."""
    return tf.zeros(lanes.optimizer[0].shape[0], tf.float64)


def take_rows(values: tf.Tensor, start: tf.Tensor, count: int) -> tf.Tensor:
    """Return rows `[start, start + count)` of `values`, which may have any rank.

    `start` must be a loop variable that changes: if XLA could trace it back to an argument of the compiled function, it
    would recompile that function for every value.
    """
    return tf.slice(values, tf.stack([start] + [0] * (values.shape.rank - 1)), [count, *values.shape[1:]])


def keep_rows(values: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Return `values`, of any rank and type, with zeros in rows where `kept` is False."""
    return tf.where(tf.reshape(kept, [-1] + [1] * (values.shape.rank - 1)), values, tf.zeros_like(values))


def set_row(values: tf.Tensor, index: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Return `values` with `value` at `index` of the first axis."""
    return tf.tensor_scatter_nd_update(values, [[index]], value[None])
