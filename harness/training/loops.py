"""The updates of a block as one compiled loop: for chunks that fit in a slice, longer ones, and Gram matrices."""

# The stubs that pyright has for TensorFlow know no static shapes.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportOptionalOperand=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalIterable=false, reportOptionalMemberAccess=false
from __future__ import annotations

import numpy as np
import tensorflow as tf

from harness.data.blocks import SLICE_ROWS
from harness.errors import require
from harness.training.gram import GramChunks, GramSteps
from harness.training.lanes import BATCH_LAYERS, Stack, State
from harness.training.slices import Carry, Rows, Slices, put, rows_of, zeros
from harness.training.xla import compiled


class WholeChunks:
    """Updates of chunks that fit in a slice: one step a chunk, and the shorter last chunk in a shape of its own."""

    def __init__(self, stack: Stack, chunk: int, rows: int) -> None:
        self._stack, self._chunk, self._rows = stack, chunk, rows
        self.updates = -(-rows // chunk)
        self._tail = rows % chunk
        self._compiled = compiled(self._updates)

    def start(self, state: State) -> Carry:
        """Return the carry before the first row."""
        return Carry(state, zeros(state), [])

    def advance(self, carry: Carry, rows: Rows) -> tuple[Carry, np.ndarray]:
        """Take all updates that end in a block.

        Returns:
            The carry after them, and their losses, float32 `[updates, tile]`.
        """
        first, stop = rows.start // self._chunk, rows.stop // self._chunk
        tail = self._tail > 0 and rows.stop == self._rows
        begin = first * self._chunk - rows.start + rows.overlap
        carry, losses = self._compiled(
            carry, rows.x, rows.y, tf.constant(begin), tf.constant(stop - first), tf.constant(int(tail))
        )
        return carry, losses.numpy()[: stop - first + tail]

    def compile(self, carry: Carry, rows: Rows) -> None:
        """Compile for lanes with this carry and blocks of these shapes."""
        self.advance(carry, rows._replace(start=0, stop=0))

    def _updates(
        self, carry: Carry, x: tf.Tensor, y: tf.Tensor, begin: tf.Tensor, steps: tf.Tensor, tail: tf.Tensor
    ) -> tuple[Carry, tf.Tensor]:
        losses = tf.zeros([x.shape[0] // self._chunk + 2, carry.epoch_loss.shape[0]])

        def update(step: tf.Tensor, rows: int, carry: Carry, losses: tf.Tensor) -> tuple[tf.Tensor, Carry, tf.Tensor]:
            row = begin + step * self._chunk
            loss, state = self._stack.update(carry.state, rows_of(x, row, rows), rows_of(y, row, rows))
            epoch_loss = carry.epoch_loss + tf.cast(loss, tf.float64) * rows
            return step + 1, carry._replace(state=state, epoch_loss=epoch_loss), put(losses, step, loss)

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
        self._stack, self._chunk = stack, chunk
        self._slices = Slices(chunk, rows, SLICE_ROWS)
        self.updates = self._slices.updates
        self._compiled = compiled(self._updates)

    def start(self, state: State) -> Carry:
        """Return the carry before the first row."""
        sums = [tf.zeros(weight.shape, tf.float64) for weight in state.weights]
        return Carry(state, zeros(state), [zeros(state), *sums])

    def advance(self, carry: Carry, rows: Rows) -> tuple[Carry, np.ndarray]:
        """Take all updates that end in a block; see `WholeChunks.advance`."""
        plan = self._slices.of(rows, self._slices.most(len(rows.x)))
        slices = (tf.constant(values) for values in (plan.windows, plan.inside, plan.of_chunk, plan.count))
        carry, losses = self._compiled(carry, rows.x, rows.y, *slices)
        return carry, losses.numpy()[: plan.updates]

    def compile(self, carry: Carry, rows: Rows) -> None:
        """Compile for lanes with this carry and blocks of these shapes."""
        self.advance(carry, rows._replace(start=0, stop=0))

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
            x_slice = tf.where(mine[:, None], rows_of(x, windows[number], SLICE_ROWS), 0.0)
            y_slice = tf.where(mine[:, None], rows_of(y, windows[number], SLICE_ROWS), 0.0)
            *parts, state = self._stack.sums(carry.state, x_slice, y_slice, tf.cast(mine, tf.float32))
            parts = tf.nest.flatten(parts)
            sums = [total + tf.cast(part, tf.float64) for total, part in zip(carry.partial, parts, strict=True)]
            carry, rows = Carry(state, carry.epoch_loss, sums), of_chunk[number]

            def step() -> tuple[tf.Tensor, Carry, tf.Tensor]:
                loss, *totals = carry.partial
                gradients = [tf.cast(total / rows, tf.float32) for total in totals]
                state = self._stack.step(carry.state, gradients)
                done = Carry(state, carry.epoch_loss + loss, [tf.zeros_like(total) for total in carry.partial])
                return update + 1, done, put(losses, update, tf.cast(loss / rows, tf.float32))

            update, carry, losses = tf.cond(rows > 0, step, lambda: (update, carry, losses))
            return number + 1, update, carry, losses

        _, _, carry, losses = tf.while_loop(
            lambda number, *_: number < steps, add, (tf.constant(0), tf.constant(0), carry, losses)
        )
        return carry, losses


Loop = WholeChunks | SlicedChunks | GramChunks


def make_loop(stack: Stack, chunk: int, rows: int, gram: GramSteps | None = None) -> Loop:
    """Return the loop for updates of `chunk` rows over a part of `rows` rows; with `gram`, by matrices if that pays."""
    if gram and gram.pays(chunk):
        return GramChunks(gram, chunk, rows)
    return (WholeChunks if chunk <= SLICE_ROWS else SlicedChunks)(stack, chunk, rows)
