"""Updates linear models with squared error from the Gram matrices of chunks.

With `z = [x, 1, y]` for a row and `v = [slopes, intercept, -1]` for a lane, the row's error is `z v`. A chunk's sum of
squared errors is then `v' G v`, and its gradient the first entries of `2 G v`, where `G`, the sum of `z' z` over the
chunk's rows, is the same for all lanes and epochs. Sums use float64, in which products of two float32 numbers are
exact.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from harness.data.blocks import SLICE_ROWS
from harness.training.lanes import LaneState, Stack
from harness.training.linear_models import is_linear
from harness.training.slices import DeviceBlock, Grams, LoopState, Slices, keep_rows, set_row, take_rows, zero_losses
from harness.training.xla import compiled

MAX_COLUMNS = 32
"""Maximum number of columns (inputs, intercept, target) of models trained this way; matrices are square."""

ROWS_PER_COLUMN = 5
"""Rows per column above which a step from a chunk's matrix is cheaper than a step from its rows."""

CALL_STEPS, CALL_BYTES = 8192, 1 << 21
"""Steps per call, and the maximum size of their matrices in bytes."""

NEARLY_A_SLICE = 0.9
"""Chunks of at least this fraction of a slice use full-length slices, to share functions compiled for longer chunks."""

FEW_COLUMNS = 4
"""Up to this many columns, XLA computes a matrix faster column by column (twice as fast with one feature)."""


class GramSteps:
    """Takes optimizer steps based on given matrices, for chunks of any length.

    Attributes:
        columns: Number of columns of a matrix: the model's inputs, the intercept and the target.
        size: Steps per call.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack, self.columns = stack, stack.encode.inputs + 2
        self.size = min(CALL_STEPS, CALL_BYTES // (8 * self.columns**2))
        self._compiled = compiled(self._steps)
        # Keyed by slice length, so that chunks with slices of the same length share a compiled function.
        self.reducer = functools.cache(lambda length: compiled(functools.partial(self._reduce, length)))

    def pays(self, chunk: int) -> bool:
        """Return True if a step from a Gram matrix is cheaper than one from a chunk's rows.

        Also return False if the model or the loss does not allow Gram matrices.
        """
        if self.columns > MAX_COLUMNS or chunk < ROWS_PER_COLUMN * self.columns:
            return False
        return self.stack.objective.has_gram and is_linear(self.stack.model)

    def take(self, state: LoopState, grams: np.ndarray, rows: np.ndarray) -> tuple[LoopState, np.ndarray]:
        """Take one step per chunk, given `grams [chunks, columns, columns]` and `rows [chunks]` in float64.

        Returns:
            The state after the steps, and their losses, float32 `[chunks, tile]`.
        """
        losses = [np.zeros((0, len(state.epoch_loss)), np.float32)]
        for start in range(0, len(grams), self.size):
            some = grams[start : start + self.size]
            state, values = self._call(state, some, rows[start : start + self.size])
            losses.append(values.numpy()[: len(some)])
        return state, np.concatenate(losses)

    def compile(self, state: LoopState) -> None:
        """Compile for lanes whose state has these shapes."""
        self._call(state, np.zeros((0, self.columns, self.columns)), np.zeros(0))

    def _call(self, state: LoopState, grams: np.ndarray, rows: np.ndarray) -> tuple[LoopState, tf.Tensor]:
        return self._compiled(
            state, zero_padded(grams, self.size), zero_padded(rows, self.size), tf.constant(len(grams))
        )

    def _steps(self, state: LoopState, grams: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tuple:
        def step(number: tf.Tensor, state: LoopState, losses: tf.Tensor) -> tuple[tf.Tensor, LoopState, tf.Tensor]:
            kernel, bias = state.lanes.weights
            v = tf.cast(tf.concat([kernel[:, :, 0], bias, -tf.ones_like(bias)], axis=1), tf.float64)
            half = tf.reduce_sum(v[:, :, None] * grams[number], axis=1)
            loss = tf.maximum(tf.reduce_sum(v * half, axis=1), 0)
            gradient = tf.cast(2 * half[:, :-1] / rows[number], tf.float32)
            lanes = self.stack.step(state.lanes, [gradient[:, :-1, None], gradient[:, -1:]])
            losses = set_row(losses, number, tf.cast(loss / rows[number], tf.float32))
            return number + 1, state._replace(lanes=lanes, epoch_loss=state.epoch_loss + loss), losses

        start = (tf.constant(0), state, tf.zeros([grams.shape[0], state.epoch_loss.shape[0]]))
        return tf.while_loop(lambda number, *_: number < count, step, start)[1:]

    def _reduce(
        self, length: int, x: tf.Tensor, y: tf.Tensor, windows: tf.Tensor, inside: tf.Tensor, count: tf.Tensor
    ) -> tf.Tensor:
        def add(number: tf.Tensor, window: tf.Tensor, grams: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            mine = tf.range(length) >= length - inside[number]
            x_slice, y_slice = (take_rows(values, window, length) for values in (x, y))
            z = tf.concat([self.stack.encode(x_slice), tf.ones([length, 1]), y_slice], axis=1)
            z = tf.cast(keep_rows(z, mine), tf.float64)
            if self.columns > FEW_COLUMNS:
                gram = tf.matmul(z, z, transpose_a=True)
            else:
                gram = tf.stack([tf.linalg.matvec(z, column, transpose_a=True) for column in tf.unstack(z, axis=1)])
            return number + 1, windows[number + 1], set_row(grams, number, gram)

        grams = tf.zeros([windows.shape[0], self.columns, self.columns], tf.float64)
        start = (tf.constant(0), windows[0], grams)
        return tf.while_loop(lambda number, *_: number < count, add, start)[2]


class GramChunks:
    """Runs updates from the Gram matrices of chunks of any length.

    Attributes:
        chunk: Rows per update.
        updates: Updates per epoch.
    """

    def __init__(self, steps: GramSteps, chunk: int, rows: int) -> None:
        self._steps = steps
        self._slices = Slices(chunk, rows, chunk if chunk < NEARLY_A_SLICE * SLICE_ROWS else SLICE_ROWS)
        self.chunk, self.updates = chunk, self._slices.updates
        self._reduced = steps.reducer(self._slices.length)

    @property
    def gram_source(self) -> GramChunks:
        """See `harness.training.loops.WholeChunks`."""
        return self

    def start(self, lanes: LaneState) -> LoopState:
        """See `harness.training.loops.WholeChunks`."""
        return LoopState(lanes, zero_losses(lanes), [tf.zeros([self._steps.columns] * 2, tf.float64)])

    def reduce(self, block: DeviceBlock) -> Grams:
        """Return the matrices of the slices that end in a block."""
        layout = self._slices.layout(block)
        windows, inside = tf.constant(layout.windows), tf.constant(layout.inside)
        try:
            grams = self._reduced(block.x, block.y, windows, inside, tf.constant(layout.count))
        except Exception as error:
            return error
        return grams.numpy()[: layout.count]

    def bytes(self, rows: int) -> int:
        """Return the approximate size of the matrices of `rows` rows."""
        return -(-rows * self._slices.per_chunk // self.chunk) * self._steps.columns**2 * 8

    def advance(self, state: LoopState, block: DeviceBlock) -> tuple[LoopState, np.ndarray]:
        """See `harness.training.loops.WholeChunks`; also takes joined blocks."""
        grams = block.grams[self.chunk]
        if isinstance(grams, Exception):
            if isinstance(grams, tf.errors.ResourceExhaustedError | MemoryError):  # Smaller tiles would not help.
                raise RuntimeError(f"not enough memory for the Gram matrices of chunks of {self.chunk} rows: {grams}")
            raise grams
        whole = block.start if block.grams_start is None else block.grams_start
        grams = grams[
            slice(*(self._slices.before(row) - self._slices.before(whole) for row in (block.start, block.stop)))
        ]
        layout = self._slices.layout(block, len(grams))
        chunk_rows, partial = layout.chunk_rows, state.partial
        if self._slices.per_chunk > 1:
            grams, chunk_rows = sum_slices(state.partial[0].numpy(), grams, chunk_rows)
            partial = [tf.constant(grams[-1])]
        state, losses = self._steps.take(state, grams[: layout.updates], chunk_rows[: layout.updates])
        return state._replace(partial=partial), losses

    def compile(self, state: LoopState, block: DeviceBlock) -> None:
        """See `harness.training.loops.WholeChunks`."""
        self.advance(state, block._replace(grams={self.chunk: self.reduce(block)}))
        self._steps.compile(state)


def zero_padded(values: np.ndarray, length: int) -> tf.Tensor:
    """Return `values` followed by zeros up to `length`."""
    return tf.constant(np.concatenate([values, np.zeros((length - len(values), *values.shape[1:]), values.dtype)]))


def sum_slices(partial: np.ndarray, grams: np.ndarray, chunk_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum the slices of each chunk, in order.

    Args:
        partial: Sum over the earlier slices of the first chunk, `[columns, columns]`.
        grams: Matrices of the slices, `[slices, columns, columns]`.
        chunk_rows: Rows of a slice's chunk if the chunk ends with it, else 0.

    Returns:
        The matrices of the chunks that end here, followed by that of the unfinished chunk, `[chunks + 1, columns,
        columns]`; and the row counts of the chunks that end here.
    """
    ends = chunk_rows > 0
    chunk = np.append(0, np.cumsum(ends) - ends)
    entries = np.concatenate([partial[None], grams]).reshape(len(chunk), -1).T
    # np.sum adds pairwise, so block boundaries would affect the last bits.
    sums = [np.bincount(chunk, entry, minlength=int(ends.sum()) + 1) for entry in entries]
    return np.stack(sums, axis=1).reshape(-1, *partial.shape), chunk_rows[ends]
