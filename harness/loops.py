"""The updates of a block as one compiled loop: one for chunks that fit in a slice, one for longer ones.

Which rows make an update follows from row numbers alone; where a block ends does not show in any number.
"""

# The stubs that pyright has for TensorFlow know no static shapes.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportOptionalOperand=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalIterable=false
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python.xla import dynamic_slice

from harness.blocks import SLICE_ROWS
from harness.lanes import BATCH_LAYERS, Stack, State
from harness.refusal import require
from harness.xla import compiled


class Rows(NamedTuple):
    """A block as tensors.

    Attributes:
        start: The number of the block's first row.
        stop: The number after its last row.
        overlap: Rows in front of row `start`.
        x: float32 `[capacity, features]`.
        y: float32 `[capacity, 1]`.
    """

    start: int
    stop: int
    overlap: int
    x: tf.Tensor
    y: tf.Tensor


class Carry(NamedTuple):
    """What goes from block to block.

    Attributes:
        state: Of the lanes.
        epoch_loss: Sum over this epoch's updates of rows times loss, float64 `[tile]`.
        loss: Of the chunk under way, summed over its rows, float64 `[tile]`.
        gradients: Likewise, float64 `[tile, ...]` for each weight; empty where a chunk is never under way.
    """

    state: State
    epoch_loss: tf.Tensor
    loss: tf.Tensor
    gradients: list[tf.Tensor]


class WholeChunks:
    """Updates of chunks that fit in a slice: one step a chunk, and the shorter last chunk in a shape of its own."""

    def __init__(self, stack: Stack, chunk: int, rows: int) -> None:
        self._stack, self._chunk, self._rows = stack, chunk, rows
        self.updates = -(-rows // chunk)
        self._tail = rows % chunk
        self._compiled = compiled(self._updates)

    def start(self, state: State) -> Carry:
        """Return the carry before the first row."""
        zeros = _zeros(state)
        return Carry(state, zeros, zeros, [])

    def advance(self, carry: Carry, rows: Rows) -> tuple[Carry, tf.Tensor, int, int]:
        """Take all updates that end in a block.

        Returns:
            The carry after them, their losses float32 `[updates or more, tile]`, the number (from 0, within the epoch)
            of the first update and the number after the last.
        """
        first, stop = rows.start // self._chunk, rows.stop // self._chunk
        tail = self._tail > 0 and rows.stop == self._rows
        begin = first * self._chunk - rows.start + rows.overlap
        carry, losses = self._compiled(
            carry, rows.x, rows.y, tf.constant(begin), tf.constant(stop - first), tf.constant(int(tail))
        )
        return carry, losses, first, stop + tail

    def _updates(
        self, carry: Carry, x: tf.Tensor, y: tf.Tensor, begin: tf.Tensor, steps: tf.Tensor, tail: tf.Tensor
    ) -> tuple[Carry, tf.Tensor]:
        losses = tf.zeros([x.shape[0] // self._chunk + 2, carry.epoch_loss.shape[0]])

        def update(step: tf.Tensor, rows: int, carry: Carry, losses: tf.Tensor) -> tuple[tf.Tensor, Carry, tf.Tensor]:
            row = begin + step * self._chunk
            loss, state = self._stack.update(carry.state, _rows(x, row, rows), _rows(y, row, rows))
            epoch_loss = carry.epoch_loss + tf.cast(loss, tf.float64) * rows
            return step + 1, carry._replace(state=state, epoch_loss=epoch_loss), _put(losses, step, loss)

        _, carry, losses = tf.while_loop(
            lambda step, *_: step < steps,
            lambda step, carry, losses: update(step, self._chunk, carry, losses),
            (tf.constant(0), carry, losses),
        )
        # A loop of one step or none: XLA would compile a conditional anew for each value of its condition.
        if self._tail:
            _, carry, losses = tf.while_loop(
                lambda step, *_: step < steps + tail,
                lambda step, carry, losses: update(step, self._tail, carry, losses),
                (steps, carry, losses),
            )
        return carry, losses


class SlicedChunks:
    """Updates of longer chunks: float64 sums over slices counted from the chunk's start, then one step."""

    def __init__(self, stack: Stack, chunk: int, rows: int) -> None:
        layers = [layer.name for layer in stack.layers() if isinstance(layer, BATCH_LAYERS)]
        require(
            not layers,
            f"a model whose rows do not depend on each other was expected for chunks of over {SLICE_ROWS} rows",
            f"chunksize {chunk} and the layers {layers}",
            f"Use chunksize <= {SLICE_ROWS}.",
        )
        self._stack, self._chunk, self._rows = stack, chunk, rows
        self.updates = -(-rows // chunk)
        self._slices = -(-chunk // SLICE_ROWS)
        self._compiled = compiled(self._updates)

    def start(self, state: State) -> Carry:
        """Return the carry before the first row."""
        zeros = _zeros(state)
        return Carry(state, zeros, zeros, [tf.zeros(weight.shape, tf.float64) for weight in state.weights])

    def advance(self, carry: Carry, rows: Rows) -> tuple[Carry, tf.Tensor, int, int]:
        """Take all updates that end in a block; see `WholeChunks.advance`."""
        windows, inside, of_chunk, steps = self._plan(rows)
        carry, losses = self._compiled(
            carry, rows.x, rows.y, tf.constant(windows), tf.constant(inside), tf.constant(of_chunk), tf.constant(steps)
        )
        return carry, losses, self._updates_before(rows.start), self._updates_before(rows.stop)

    def _plan(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Lay out the slices that end in a block, in arrays of one length for all blocks.

        Returns:
            Where the window of each slice begins in the block's arrays, int32; a window ends where its slice ends. The
            slice's rows, int32. The rows of its chunk, float64, if it ends there, else 0. The number of slices.
        """
        numbers = np.arange(self._slices_before(rows.start), self._slices_before(rows.stop))
        chunk_start = numbers // self._slices * self._chunk
        chunk_stop = np.minimum(chunk_start + self._chunk, self._rows)
        start = chunk_start + numbers % self._slices * SLICE_ROWS
        stop = np.minimum(start + SLICE_ROWS, chunk_stop)
        columns = (
            stop - SLICE_ROWS - rows.start + rows.overlap,
            stop - start,
            (chunk_stop - chunk_start) * (stop == chunk_stop),
        )
        most = 2 * (rows.x.shape[0] // SLICE_ROWS) + 2
        padded = np.zeros((3, most))
        padded[:, : len(numbers)] = columns
        return padded[0].astype(np.int32), padded[1].astype(np.int32), padded[2], len(numbers)

    def _updates_before(self, row: int) -> int:
        return -(-row // self._chunk) if row == self._rows else row // self._chunk

    def _slices_before(self, row: int) -> int:
        chunks, rest = divmod(row, self._chunk)
        return chunks * self._slices + (-(-rest // SLICE_ROWS) if row == self._rows else rest // SLICE_ROWS)

    def _updates(
        self,
        carry: Carry,
        x: tf.Tensor,
        y: tf.Tensor,
        windows: tf.Tensor,
        inside: tf.Tensor,
        of_chunk: tf.Tensor,
        steps: tf.Tensor,
    ) -> tuple[Carry, tf.Tensor]:
        losses = tf.zeros([x.shape[0] // self._chunk + 2, carry.epoch_loss.shape[0]])

        def add(number: tf.Tensor, update: tf.Tensor, carry: Carry, losses: tf.Tensor) -> tuple:
            # The rows of the window that are not the slice's are blanked.
            mine = tf.range(SLICE_ROWS) >= SLICE_ROWS - inside[number]
            x_slice = tf.where(mine[:, None], _rows(x, windows[number], SLICE_ROWS), 0.0)
            y_slice = tf.where(mine[:, None], _rows(y, windows[number], SLICE_ROWS), 0.0)
            loss, gradients, state = self._stack.sums(carry.state, x_slice, y_slice, tf.cast(mine, tf.float32))
            carry = Carry(
                state,
                carry.epoch_loss,
                carry.loss + tf.cast(loss, tf.float64),
                [total + tf.cast(part, tf.float64) for total, part in zip(carry.gradients, gradients, strict=True)],
            )
            rows = of_chunk[number]

            def step() -> tuple[tf.Tensor, Carry, tf.Tensor]:
                gradients = [tf.cast(total / rows, tf.float32) for total in carry.gradients]
                done = Carry(
                    self._stack.step(carry.state, gradients),
                    carry.epoch_loss + carry.loss,
                    tf.zeros_like(carry.loss),
                    [tf.zeros_like(total) for total in carry.gradients],
                )
                return update + 1, done, _put(losses, update, tf.cast(carry.loss / rows, tf.float32))

            update, carry, losses = tf.cond(rows > 0, step, lambda: (update, carry, losses))
            return number + 1, update, carry, losses

        _, _, carry, losses = tf.while_loop(
            lambda number, *_: number < steps, add, (tf.constant(0), tf.constant(0), carry, losses)
        )
        return carry, losses


Loop = WholeChunks | SlicedChunks


def make_loop(stack: Stack, chunk: int, rows: int) -> Loop:
    """Return the loop for updates of `chunk` rows over a part of `rows` rows."""
    return (WholeChunks if chunk <= SLICE_ROWS else SlicedChunks)(stack, chunk, rows)


def _zeros(state: State) -> tf.Tensor:
    return tf.zeros(state.optimizer[0].shape[0], tf.float64)


def _rows(values: tf.Tensor, start: tf.Tensor, count: int) -> tf.Tensor:
    # With tf.slice, XLA would compile the loop anew for each place that it begins at.
    start_indices = tf.stack([start, 0])
    return dynamic_slice(values, start_indices, [count, values.shape[1]])


def _put(losses: tf.Tensor, index: tf.Tensor, loss: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(losses, [[index]], loss[None])
