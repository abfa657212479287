"""Runs the updates of a block in one compiled loop, for chunks computed in one step and for longer ones."""

# TensorFlow's stubs do not know static shapes.
# pyright: reportOptionalOperand=false
from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from harness.errors import require
from harness.training.gram import GramChunks, GramSteps
from harness.training.lanes import LaneState, Stack
from harness.training.slices import DeviceBlock, LoopState, Slices, keep_rows, set_row, take_rows, zero_losses

# One iteration at a time: outside of XLA, TensorFlow would start slices early and keep the activations of all of them.
loop = functools.partial(tf.while_loop, parallel_iterations=1)


class WholeChunks:
    """Trains on short chunks, each in one step; a shorter last chunk is compiled in its own shape."""

    gram_source: GramChunks | None = None
    """Computes the loop's input from rows; None if the loop reads the rows themselves."""

    def __init__(self, stack: Stack, chunk: int, rows: int) -> None:
        self._stack, self._chunk, self._rows = stack, chunk, rows
        self.updates = -(-rows // chunk)
        self._tail = rows % chunk
        self._compiled = stack.strategy.compile(self._updates)

    def start(self, lanes: LaneState) -> LoopState:
        """Return the state before the first row."""
        return LoopState(lanes, zero_losses(lanes), [])

    def advance(self, state: LoopState, block: DeviceBlock) -> tuple[LoopState, np.ndarray]:
        """Run all updates that end in a block.

        Returns:
            The state after them, and their losses, float32 `[updates, tile]`.
        """
        first, stop = block.start // self._chunk, block.stop // self._chunk
        tail = self._tail > 0 and block.stop == self._rows
        begin = first * self._chunk - block.start + block.overlap
        state, losses = self._compiled(
            state, block.x, block.y, tf.constant(begin), tf.constant(stop - first), tf.constant(int(tail))
        )
        return state, losses.numpy()[: stop - first + tail]

    def compile(self, state: LoopState, block: DeviceBlock) -> None:
        """Compile for lanes and blocks with the shapes of this state and this empty block."""
        self.advance(state, block)

    def _updates(
        self, state: LoopState, x: tf.Tensor, y: tf.Tensor, begin: tf.Tensor, steps: tf.Tensor, tail: tf.Tensor
    ) -> tuple[LoopState, tf.Tensor]:
        losses = tf.zeros([x.shape[0] // self._chunk + 2, state.epoch_loss.shape[0]])

        def update(rows: int, step: tf.Tensor, row: tf.Tensor, state: LoopState, losses: tf.Tensor) -> tuple:
            loss, lanes = self._stack.update(state.lanes, take_rows(x, row, rows), take_rows(y, row, rows))
            epoch_loss = state.epoch_loss + tf.cast(loss, tf.float64) * rows
            state = state._replace(lanes=lanes, epoch_loss=epoch_loss)
            return step + 1, row + rows, state, set_row(losses, step, loss)

        start = (tf.constant(0), begin, state, losses)
        done = loop(lambda step, *_: step < steps, lambda *start: update(self._chunk, *start), start)
        # A loop of at most one step, because XLA would recompile a conditional for each value of its condition.
        if self._tail:
            done = loop(lambda step, *_: step < steps + tail, lambda *start: update(self._tail, *start), done)
        return done[2:]


class SlicedChunks:
    """Trains on longer chunks: float64 sums over slices, counted from the chunk's start, then one step."""

    gram_source: GramChunks | None = None

    def __init__(self, stack: Stack, chunk: int, rows: int) -> None:
        layers = ", ".join(stack.batch_layers())
        require(
            not layers,
            f"chunksize={chunk} does not work with {layers}, which normalizes over the whole batch: chunks of more "
            f"than {stack.whole_rows} rows are computed in slices. Use chunksize <= {stack.whole_rows} or another "
            "layer.",
        )
        self._stack, self._chunk, self._length = stack, chunk, stack.strategy.slice_rows
        self._slices = Slices(chunk, rows, self._length)
        self.updates = self._slices.updates
        self._compiled = stack.strategy.compile(self._updates)

    def start(self, lanes: LaneState) -> LoopState:
        """See `WholeChunks`."""
        sums = [tf.zeros(weight.shape, tf.float64) for weight in lanes.weights]
        return LoopState(lanes, zero_losses(lanes), [zero_losses(lanes), *sums])

    def advance(self, state: LoopState, block: DeviceBlock) -> tuple[LoopState, np.ndarray]:
        """See `WholeChunks`."""
        layout = self._slices.layout(block)
        slices = (tf.constant(v) for v in (layout.windows, layout.inside, layout.chunk_rows, layout.count))
        state, losses = self._compiled(state, block.x, block.y, *slices)
        return state, losses.numpy()[: layout.updates]

    def compile(self, state: LoopState, block: DeviceBlock) -> None:
        """See `WholeChunks`."""
        self.advance(state, block)

    def _updates(
        self,
        state: LoopState,
        x: tf.Tensor,
        y: tf.Tensor,
        windows: tf.Tensor,
        inside: tf.Tensor,
        chunk_rows: tf.Tensor,
        count: tf.Tensor,
    ) -> tuple[LoopState, tf.Tensor]:
        losses = tf.zeros([x.shape[0] // self._chunk + 2, state.epoch_loss.shape[0]])

        def add(number: tf.Tensor, window: tf.Tensor, update: tf.Tensor, state: LoopState, losses: tf.Tensor) -> tuple:
            # Zero the rows of the window that are not part of the slice.
            mine = tf.range(self._length) >= self._length - inside[number]
            x_slice, y_slice = (keep_rows(take_rows(values, window, self._length), mine) for values in (x, y))
            *parts, lanes = self._stack.sums(state.lanes, x_slice, y_slice, tf.cast(mine, tf.float32))
            parts = tf.nest.flatten(parts)
            sums = [total + tf.cast(part, tf.float64) for total, part in zip(state.partial, parts, strict=True)]
            state, rows = LoopState(lanes, state.epoch_loss, sums), chunk_rows[number]

            def step() -> tuple[tf.Tensor, LoopState, tf.Tensor]:
                loss, *totals = state.partial
                gradients = [tf.cast(total / rows, tf.float32) for total in totals]
                lanes = self._stack.step(state.lanes, gradients)
                done = LoopState(lanes, state.epoch_loss + loss, [tf.zeros_like(total) for total in state.partial])
                return update + 1, done, set_row(losses, update, tf.cast(loss / rows, tf.float32))

            update, state, losses = tf.cond(rows > 0, step, lambda: (update, state, losses))
            return number + 1, windows[number + 1], update, state, losses

        start = (tf.constant(0), windows[0], tf.constant(0), state, losses)
        return loop(lambda number, *_: number < count, add, start)[3:]


Loop = WholeChunks | SlicedChunks | GramChunks


def make_loop(stack: Stack, chunk: int, rows: int, gram: GramSteps | None = None) -> Loop:
    """Return the loop for updates of `chunk` rows over a part of `rows` rows.

    With `gram`, the loop uses Gram matrices where they are faster.
    """
    if gram and gram.pays(chunk):
        return GramChunks(gram, chunk, rows)
    return (WholeChunks if chunk <= stack.whole_rows else SlicedChunks)(stack, chunk, rows)
