"""Updates of linear models with the squared error, from the Gram matrices of chunks.

With `z = [x, 1, y]` for a row and `v = [slopes, intercept, -1]` for a lane, the error of the row is `z v`. So a chunk's
sum of squared errors is `v' G v` and its gradient the first entries of `2 G v`, where `G`, the sum of `z' z` over its
rows, is the same for all lanes and in all epochs. The sums are in float64; a product of two float32 values is exact in
it.
"""

# The stubs that pyright has for TensorFlow know no static shapes.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportOptionalOperand=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalIterable=false, reportOptionalMemberAccess=false
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from harness.blocks import SLICE_ROWS
from harness.chunks import Carry, Rows, Slices, put, rows_of, zeros
from harness.lanes import Stack, State
from harness.xla import compiled

MOST_COLUMNS = 32
"""Inputs, intercept and target of the widest model that is trained so: a matrix grows by the square of them."""

ROWS_A_COLUMN = 5
"""Rows of a chunk, for each of its columns, from which on a step by its matrix is the cheaper one."""

FEW_COLUMNS = 4
"""Up to these, XLA adds up a matrix faster column by column, in half the time for one feature."""


class GramChunks:
    """Updates of chunks of any length.

    Attributes:
        chunk: Rows of an update.
        updates: Of an epoch.
    """

    def __init__(self, stack: Stack, chunk: int, rows: int) -> None:
        self._stack, self._columns = stack, stack.inputs + 2
        self._slices = Slices(chunk, rows, min(chunk, SLICE_ROWS))
        self.chunk, self.updates = chunk, self._slices.updates
        self._reduced, self._compiled = compiled(self._reduce), compiled(self._updates)

    @staticmethod
    def pays(stack: Stack, chunk: int) -> bool:
        """Say whether models and loss allow it, and a step by a matrix takes less than one by the rows of a chunk."""
        columns = stack.inputs + 2
        return stack.is_least_squares and columns <= MOST_COLUMNS and chunk >= ROWS_A_COLUMN * columns

    def start(self, state: State) -> Carry:
        """Return the carry before the first row."""
        return Carry(state, zeros(state), [tf.zeros([self._columns, self._columns], tf.float64)])

    def reduce(self, rows: Rows) -> np.ndarray:
        """Return the matrices of the slices that end in a block, float64 `[slices, columns, columns]`."""
        plan = self._slices.of(rows, self._slices.most(rows.x.shape[0]))
        grams = self._reduced(rows.x, rows.y, plan.windows, plan.inside, plan.slices)
        return grams.numpy()[: int(plan.slices)]

    def bytes(self, capacity: int) -> int:
        """Return what the matrices of a span of blocks take, whose arrays have `capacity` rows together."""
        return self._slices.most(capacity) * self._columns**2 * 8

    def join(self, grams: Sequence[np.ndarray], capacity: int) -> tf.Tensor:
        """Return the matrices of successive blocks as one tensor, of one shape for all spans of a capacity."""
        joined = np.zeros((self._slices.most(capacity), self._columns, self._columns))
        np.concatenate(grams, out=joined[: sum(map(len, grams))])
        return tf.constant(joined)

    def advance(self, carry: Carry, rows: Rows) -> tuple[Carry, tf.Tensor, int, int]:
        """Take all updates that end in a span of blocks; see `WholeChunks.advance`."""
        grams = rows.grams[self.chunk]
        plan = self._slices.of(rows, grams.shape[0])
        updates = tf.constant(plan.stop - plan.first)
        carry, losses = self._compiled(carry, grams, plan.of_chunk, plan.slices, updates)
        return carry, losses, plan.first, plan.stop

    def _reduce(self, x: tf.Tensor, y: tf.Tensor, windows: tf.Tensor, inside: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        length = self._slices.length

        def add(number: tf.Tensor, grams: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            mine = tf.range(length) >= length - inside[number]
            x_slice, y_slice = (rows_of(values, windows[number], length) for values in (x, y))
            z = tf.concat([self._stack.encode(x_slice), tf.ones([length, 1]), y_slice], axis=1)
            z = tf.cast(tf.where(mine[:, None], z, 0.0), tf.float64)
            if self._columns > FEW_COLUMNS:
                gram = tf.matmul(z, z, transpose_a=True)
            else:
                gram = tf.stack([tf.linalg.matvec(z, column, transpose_a=True) for column in tf.unstack(z, axis=1)])
            return number + 1, put(grams, number, gram)

        start = tf.zeros([windows.shape[0], self._columns, self._columns], tf.float64)
        return tf.while_loop(lambda number, _: number < count, add, (tf.constant(0), start))[1]

    def _updates(
        self, carry: Carry, grams: tf.Tensor, of_chunk: tf.Tensor, count: tf.Tensor, updates: tf.Tensor
    ) -> tuple[Carry, tf.Tensor]:
        """Take the steps of the chunks that end here; what is left of the last slices is of the next chunk."""
        left = carry.partial
        if self._slices.each > 1:
            grams, of_chunk = self._chunks(carry.partial[0], grams, of_chunk, count)
            left = [grams[updates]]

        def update(number: tf.Tensor, carry: Carry, losses: tf.Tensor) -> tuple[tf.Tensor, Carry, tf.Tensor]:
            kernel, bias = carry.state.weights
            v = tf.cast(tf.concat([kernel[:, :, 0], bias, -tf.ones_like(bias)], axis=1), tf.float64)
            half = tf.reduce_sum(v[:, :, None] * grams[number], axis=1)
            loss = tf.maximum(tf.reduce_sum(v * half, axis=1), 0)
            gradient = tf.cast(2 * half[:, :-1] / of_chunk[number], tf.float32)
            state = self._stack.step(carry.state, [gradient[:, :-1, None], gradient[:, -1:]])
            carry = Carry(state, carry.epoch_loss + loss, left)
            return number + 1, carry, put(losses, number, tf.cast(loss / of_chunk[number], tf.float32))

        losses = tf.zeros([grams.shape[0], carry.epoch_loss.shape[0]])
        start = (tf.constant(0), carry._replace(partial=left), losses)
        return tf.while_loop(lambda number, *_: number < updates, update, start)[1:]

    @staticmethod
    def _chunks(
        partial: tf.Tensor, grams: tf.Tensor, of_chunk: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Add up slices, and return matrices and rows of the chunks that end here, in order, and the sum left over."""

        def add(number: tf.Tensor, chunk: tf.Tensor, sums: tf.Tensor, rows: tf.Tensor) -> tuple:
            sums, rows = put(sums, chunk, sums[chunk] + grams[number]), put(rows, chunk, of_chunk[number])
            return number + 1, chunk + tf.cast(of_chunk[number] > 0, tf.int32), sums, rows

        zero = tf.constant(0)
        sums = put(tf.zeros_like(grams), zero, partial)
        start = (zero, zero, sums, tf.zeros_like(of_chunk))
        return tf.while_loop(lambda number, *_: number < count, add, start)[2:]
