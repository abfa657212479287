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

import functools

import numpy as np
import tensorflow as tf

from harness.data.blocks import SLICE_ROWS
from harness.training.lanes import Stack, State
from harness.training.slices import Carry, Grams, Rows, Slices, put, rows_of, zeros
from harness.training.xla import compiled

MOST_COLUMNS = 32
"""Inputs, intercept and target of the widest model that is trained so: a matrix grows by the square of them."""

ROWS_A_COLUMN = 5
"""Rows of a chunk, for each of its columns, from which on a step by its matrix is the cheaper one."""

CALL_STEPS, CALL_BYTES = 8192, 1 << 21
"""Steps of a call, and what their matrices may take."""

NEARLY = 0.9
"""Chunks of this much of a slice are summed up in slices of full length, by what is compiled for longer chunks."""

FEW_COLUMNS = 4
"""Up to these, XLA adds up a matrix faster column by column, in half the time for one feature."""


class GramSteps:
    """Steps by given matrices, for chunks of all lengths.

    Attributes:
        stack: Of the lanes.
        columns: Of a matrix: the models' inputs, the intercept, the target.
        size: Steps of a call.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack, self.columns = stack, stack.inputs + 2
        self.size = min(CALL_STEPS, CALL_BYTES // (8 * self.columns**2))
        self._compiled = compiled(self._take)
        # By the length of a slice: chunks of one length share what is compiled.
        self.reducer = functools.cache(lambda length: compiled(functools.partial(self._reduce, length)))

    def pays(self, chunk: int) -> bool:
        """Say whether models and loss allow it, and a step by a matrix takes less than one by the rows of a chunk."""
        few = self.columns <= MOST_COLUMNS and chunk >= ROWS_A_COLUMN * self.columns
        return few and self.stack.is_least_squares

    def take(self, carry: Carry, grams: np.ndarray, rows: np.ndarray) -> tuple[Carry, np.ndarray]:
        """Take steps.

        Args:
            carry: Before them.
            grams: Of the chunks, float64 `[chunks, columns, columns]`.
            rows: Of the chunks, float64 `[chunks]`.

        Returns:
            The carry after them, and their losses, float32 `[chunks, tile]`.
        """
        losses = [np.zeros((0, len(carry.epoch_loss)), np.float32)]
        for start in range(0, len(grams), self.size):
            some = grams[start : start + self.size]
            carry, values = self._call(carry, some, rows[start : start + self.size])
            losses.append(values.numpy()[: len(some)])
        return carry, np.concatenate(losses)

    def compile(self, carry: Carry) -> None:
        """Compile for lanes with this carry."""
        self._call(carry, np.zeros((0, self.columns, self.columns)), np.zeros(0))

    def _call(self, carry: Carry, grams: np.ndarray, rows: np.ndarray) -> tuple[Carry, tf.Tensor]:
        return self._compiled(carry, padded(grams, self.size), padded(rows, self.size), tf.constant(len(grams)))

    def _take(self, carry: Carry, grams: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tuple[Carry, tf.Tensor]:
        def step(number: tf.Tensor, carry: Carry, losses: tf.Tensor) -> tuple[tf.Tensor, Carry, tf.Tensor]:
            kernel, bias = carry.state.weights
            v = tf.cast(tf.concat([kernel[:, :, 0], bias, -tf.ones_like(bias)], axis=1), tf.float64)
            half = tf.reduce_sum(v[:, :, None] * grams[number], axis=1)
            loss = tf.maximum(tf.reduce_sum(v * half, axis=1), 0)
            gradient = tf.cast(2 * half[:, :-1] / rows[number], tf.float32)
            state = self.stack.step(carry.state, [gradient[:, :-1, None], gradient[:, -1:]])
            losses = put(losses, number, tf.cast(loss / rows[number], tf.float32))
            return number + 1, carry._replace(state=state, epoch_loss=carry.epoch_loss + loss), losses

        start = (tf.constant(0), carry, tf.zeros([grams.shape[0], carry.epoch_loss.shape[0]]))
        return tf.while_loop(lambda number, *_: number < count, step, start)[1:]

    def _reduce(
        self, length: int, x: tf.Tensor, y: tf.Tensor, windows: tf.Tensor, inside: tf.Tensor, count: tf.Tensor
    ) -> tf.Tensor:
        def add(number: tf.Tensor, grams: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            mine = tf.range(length) >= length - inside[number]
            x_slice, y_slice = (rows_of(values, windows[number], length) for values in (x, y))
            z = tf.concat([self.stack.encode(x_slice), tf.ones([length, 1]), y_slice], axis=1)
            z = tf.cast(tf.where(mine[:, None], z, 0.0), tf.float64)
            if self.columns > FEW_COLUMNS:
                gram = tf.matmul(z, z, transpose_a=True)
            else:
                gram = tf.stack([tf.linalg.matvec(z, column, transpose_a=True) for column in tf.unstack(z, axis=1)])
            return number + 1, put(grams, number, gram)

        start = tf.zeros([windows.shape[0], self.columns, self.columns], tf.float64)
        return tf.while_loop(lambda number, _: number < count, add, (tf.constant(0), start))[1]


class GramChunks:
    """Updates of chunks of any length.

    Attributes:
        chunk: Rows of an update.
        updates: Of an epoch.
    """

    def __init__(self, steps: GramSteps, chunk: int, rows: int) -> None:
        self._steps = steps
        self._slices = Slices(chunk, rows, chunk if chunk < NEARLY * SLICE_ROWS else SLICE_ROWS)
        self.chunk, self.updates = chunk, self._slices.updates
        self._reduced = steps.reducer(self._slices.length)

    def start(self, state: State) -> Carry:
        """Return the carry before the first row."""
        return Carry(state, zeros(state), [tf.zeros([self._steps.columns] * 2, tf.float64)])

    def reduce(self, rows: Rows) -> Grams:
        """Return the matrices of the slices that end in a block."""
        plan = self._slices.of(rows, self._slices.most(len(rows.x)))
        windows, inside = tf.constant(plan.windows), tf.constant(plan.inside)
        try:
            grams = self._reduced(rows.x, rows.y, windows, inside, tf.constant(plan.count))
        except Exception as error:
            return error
        return grams.numpy()[: plan.count]

    def bytes(self, rows: int) -> int:
        """Return about what the matrices of so many rows take."""
        return -(-rows * self._slices.each // self.chunk) * self._steps.columns**2 * 8

    def advance(self, carry: Carry, rows: Rows) -> tuple[Carry, np.ndarray]:
        """Take all updates that end in a span of blocks; see `WholeChunks.advance`."""
        grams = rows.grams[self.chunk]
        if isinstance(grams, Exception):
            raise grams
        plan = self._slices.of(rows, len(grams))
        of_chunk, left = plan.of_chunk, carry.partial
        if self._slices.each > 1:
            grams, of_chunk = joined(carry.partial[0].numpy(), grams, of_chunk)
            left = [tf.constant(grams[-1])]
        carry, losses = self._steps.take(carry, grams[: plan.updates], of_chunk[: plan.updates])
        return carry._replace(partial=left), losses

    def compile(self, carry: Carry, rows: Rows) -> None:
        """Compile for lanes with this carry and blocks of these shapes."""
        self.advance(carry, rows._replace(start=0, stop=0, grams={self.chunk: self.reduce(rows)}))
        self._steps.compile(carry)


def padded(values: np.ndarray, length: int) -> tf.Tensor:
    """Return `values` with zeros up to a length."""
    if len(values) == length:
        return tf.constant(values)
    longer = np.zeros((length, *values.shape[1:]), values.dtype)
    longer[: len(values)] = values
    return tf.constant(longer)


def joined(partial: np.ndarray, grams: np.ndarray, of_chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up the slices of chunks, one after the other.

    Args:
        partial: The sum of what came before of the first chunk, `[columns, columns]`.
        grams: Of the slices, `[slices, columns, columns]`.
        of_chunk: Rows of a slice's chunk if it is the last one of it, else 0.

    Returns:
        The matrices of the chunks that end here, and at last of the one that does not, as
        `[chunks + 1, columns, columns]`; and the rows of those that end.
    """
    ends = of_chunk > 0
    chunk = np.append(0, np.cumsum(ends) - ends)
    entries = np.concatenate([partial[None], grams]).reshape(len(chunk), -1).T
    # Other sums of NumPy's add pairs first, so that it would show where a block ends.
    sums = [np.bincount(chunk, entry, minlength=int(ends.sum()) + 1) for entry in entries]
    return np.stack(sums, axis=1).reshape(-1, *partial.shape), of_chunk[ends]
