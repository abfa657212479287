"""Lanes of a cohort that are updated by the same calls: their state, and which of them still train."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import tensorflow as tf

from harness.training.best_epochs import BestEpochs
from harness.training.curves import TileCurve
from harness.training.events import Failed
from harness.training.lane import Lane
from harness.training.lanes import Stack
from harness.training.loops import Loop
from harness.training.members import Members
from harness.training.saved_state import State, array, numbers, require_names
from harness.training.slices import DeviceBlock
from harness.training.tile_errors import ends_the_tile
from harness.training.tile_length import smaller


class TrainedTile:
    """At most `length` lanes of one cohort, by index; unused positions hold copies of the last lane.

    Attributes:
        lanes: All lanes that it may hold.
        error: The error that ended it; None until then.
        device: TensorFlow's name for the device that trains it.
        cohort: Number of its cohort.
        is_fixed: Whether the user has chosen its length.
    """

    def __init__(
        self,
        lanes: Mapping[int, Lane],
        length: int,
        stack: Stack,
        loop: Loop,
        curve_points: int,
        early: Collection[int] = (),
        cohort: Mapping[int, Lane] = MappingProxyType({}),
    ) -> None:
        """Stack the lanes.

        Args:
            lanes: Those to begin with, by index.
            length: Lanes updated by one call.
            stack: Their stack.
            loop: Their loop.
            curve_points: Maximum number of points in a curve of losses by update.
            early: The updates after which `advance` pauses for an evaluation.
            cohort: All lanes that this tile may take from others.
        """
        padded = [*lanes.values()] + [[*lanes.values()][-1]] * (length - len(lanes))
        self._members = Members(lanes, length, cohort)
        self.lanes, self.length = self._members.lanes, length
        self.error: Exception | None = None
        self.device, self.cohort, self.is_fixed = "", 0, False
        self._chunk = padded[0].chunk
        self._stack, self.loop = stack, loop
        self._state = loop.start(stack.start([lane.seed for lane in padded], [lane.learning_rate for lane in padded]))
        self._updates = 0
        totals = {stop * loop.updates for spec in self.lanes.values() for stop in spec.stops}
        self._curve = TileCurve(length, totals, curve_points)
        self._best = BestEpochs({lane: spec.restore for lane, spec in self.lanes.items() if spec.restore})
        self._early = sorted(early)
        self._paused_at: int | None = None  # The row inside a block up to which it has been trained on.

    @property
    def positions(self) -> dict[int, int]:
        """The lanes still training in this tile, and their positions."""
        return self._members.positions

    @property
    def updates(self) -> int:
        """Number of updates so far."""
        return self._updates

    @property
    def is_paused(self) -> bool:
        """Whether `advance` stopped inside the block, for an evaluation; the rest of the block is still to be done."""
        return self._paused_at is not None and self.error is None

    def active(self, epoch: int) -> list[int]:
        """Return the lanes that train in `epoch`."""
        return [] if self.error else self._members.active(epoch)

    @ends_the_tile
    def take(self, moving: Sequence[tuple[Self, int]], epoch: int) -> None:
        """Take lanes of the cohort's other tiles, before `epoch`, at positions whose lanes have stopped training.

        A lane of a tile that turns out to have failed stays there.
        """
        free = self._members.free(epoch)
        tensors = tf.nest.flatten(self._state.lanes)
        values = [tensor.numpy().copy() for tensor in tensors]
        for (tile, lane), position in zip(moving, free, strict=False):
            if not (arriving := tile._values_of(lane)):
                continue
            for mine, value in zip(values, arriving, strict=True):
                mine[position] = value
            del tile.positions[lane]
            self._best.take(tile._best, lane)
            self.positions[lane] = position
        for index, tensor in enumerate(tensors):
            with tf.device(tensor.device):
                tensors[index] = tf.constant(values[index])
        lanes = tf.nest.pack_sequence_as(self._state.lanes, tensors)
        self._state = self._state._replace(lanes=lanes)  # Between epochs, nothing else in it belongs to a lane.

    def parts(self, length: int) -> list[Self]:
        """Return tiles of another `length`, a divisor of this one's, that continue in its place.

        They have no error unless the state of their lanes turns out to be lost.
        """
        found = [copy.copy(self) for _ in range(self.length // length)]
        for number, part in enumerate(found):
            try:
                with tf.device(self.device):
                    part._keep(number * length, length)
                part.error = None if _is_memory(self.error) else self.error
            except Exception as error:
                # Not as a call's error, after which the tile would be divided again.
                part.error = RuntimeError(f"the state of its lanes could not be divided: {error}")
        self._free()
        return found

    def _free(self) -> None:
        """Free the tensors of a tile that has been replaced."""
        del self._state

    def _keep(self, start: int, length: int) -> None:
        """Keep only the lanes at `length` positions from `start`."""
        before, self.length = self.length, length
        self._members = self._members.part(start, length)
        self._curve, self._best = self._curve.part(start, length), self._best.part(self.positions)
        if not self.positions:
            self._curve.clear()  # Without lanes, nothing else clears it.
        state = cut(self._state, start, length, before)  # This may fail, because the device may be gone.
        # The sums of a chunk's matrices are the same for all lanes.
        self._state = state._replace(partial=self._state.partial) if self.loop.gram_source else state

    def _values_of(self, lane: int) -> list[np.ndarray]:
        """Return a lane's weights and optimizer state; nothing if the tile has failed."""
        found: list[np.ndarray] = []
        if self.error is None:
            try:
                with tf.device(self.device):
                    found = [tensor[self.positions[lane]].numpy() for tensor in tf.nest.flatten(self._state.lanes)]
            except Exception as error:
                self.error = error
        return found

    def updates_before(self, row: int, rows: int) -> int:
        """Return the number of an epoch's updates that end before `row` of `rows`."""
        return self.loop.updates if row == rows else row // self._chunk

    @ends_the_tile
    def compile(self, train: DeviceBlock) -> None:
        """Compile for blocks with the shapes of this empty one."""
        self.loop.compile(self._state, train.on(self.device))

    @ends_the_tile
    def advance(self, block: DeviceBlock) -> None:
        """Run the updates that end in a block, or the next of these up to a pause."""
        start = block.start if self._paused_at is None else self._paused_at
        pause = self._next_pause(start, block.stop)
        stop = block.stop if pause is None else pause
        state, values = self.loop.advance(self._state, block.on(self.device).part(start, stop))
        numbers = np.arange(self._updates + 1, self._updates + 1 + len(values))
        diverged = {
            lane: int(numbers[finite.argmin()])
            for lane, position in self.positions.items()
            if lane not in self._members.diverged and not (finite := np.isfinite(values[:, position])).all()
        }
        self._curve.add(numbers, values)
        # Last, since the call is repeated if memory runs out.
        self._state, self._paused_at = state, pause
        self._updates += len(values)
        self._members.diverged |= diverged

    def _next_pause(self, start: int, stop: int) -> int | None:
        """Return the row of an epoch, in `(start, stop]`, at which the next early update ends, if it ends there."""
        before = self._updates - start // self._chunk
        rows = ((update - before) * self._chunk for update in self._early if update > self._updates)
        row = next(rows, None)
        return row if row is not None and row <= stop else None

    @property
    def lacks_memory(self) -> bool:
        """Whether its device ran out of memory, and its lanes have not been ended yet."""
        return _is_memory(self.error) and bool(self.positions)

    def fail(self) -> Iterator[Failed]:
        """Yield the lanes ended by an error, once."""
        if self.error:
            yield from (self._failed(lane, self.error) for lane in self.positions)
            self.positions.clear()

    def _failed(self, lane: int, error: Exception) -> Failed:
        if not _is_memory(error):
            return Failed.of(lane, error)
        lanes, remedy = f"{self.length} lanes", "Use a smaller model."
        if self.length == 1:
            lanes = "1 lane"
        elif self.is_fixed:
            remedy = f"Use runtime.lane_tile={smaller(self.length)}, or null, which lets the harness choose."
        return Failed(lane, f"{self.device} ran out of memory with {lanes} per call. {remedy}")

    def state(self) -> dict[str, np.ndarray]:
        """Return the state from which a tile of the same lanes can continue; incomplete during an evaluation.

        For a tile that has failed, or turns out to have failed, it contains only the lanes whose failure has not been
        reported yet: the tensors may be on a device that is gone.
        """
        try:
            if self.error is None:
                return self._whole_state()
        except tf.errors.OpError as error:
            self.error = error
        return {"failed": np.array(list(self.positions), np.int64)}

    def _whole_state(self) -> dict[str, np.ndarray]:
        numbers, values = self._curve.kept()
        return {
            **self._members.state(),
            "chunk": np.array(self._chunk),
            "updates": np.array(self._updates),
            "curve/numbers": numbers,
            "curve/values": values,
            **{f"loop/{index}": value.numpy() for index, value in enumerate(tf.nest.flatten(self._state))},
            **self._best.state(),
        }

    def restore(self, state: State, epoch: int, updates: int) -> None:
        """Continue from a state that was saved in `epoch`, after `updates` of its updates.

        Raises:
            ValueError: The state belongs to other lanes or another moment.
        """
        if "failed" in state:
            self._restore_failed(state)
            return
        tensors = tf.nest.flatten(self._state)
        loop = [f"loop/{index}" for index in range(len(tensors))]
        shapes = [(weight.dtype, weight.shape) for weight in self._stack.model.get_weights()]
        best = self._best.restore(state, shapes)
        names = ("positions", "diverged", "chunk", "updates", "curve/numbers", "curve/values")
        require_names(state, [*names, *loop, *best])
        values = [
            array(state, name, tensor.dtype.as_numpy_dtype, tensor.shape)
            for name, tensor in zip(loop, tensors, strict=True)
        ]
        before = (epoch - 1) * self.loop.updates
        done = int(numbers(state, "updates", [], 0, before + updates))
        curve = numbers(state, "curve/numbers", [None], before + 1, done)
        losses = array(state, "curve/values", np.float32, [len(curve), len(self._state.epoch_loss)])
        self._members.restore(state, done)
        if state["chunk"] != self._chunk:
            raise ValueError("it belongs to other lanes")
        if (self.active(epoch) and done != before + updates) or (np.diff(curve) <= 0).any():
            raise ValueError("its number of updates is wrong")
        self._state = tf.nest.pack_sequence_as(self._state, [tf.constant(value) for value in values])
        self._updates = done
        self._curve.restore(curve, losses)

    def _restore_failed(self, state: State) -> None:
        require_names(state, ["failed"])
        lanes = numbers(state, "failed", [None], 0, max(self.lanes)).tolist()
        if not self.lanes.keys() >= {*lanes}:
            raise ValueError("it belongs to other lanes")
        self._members.positions = dict.fromkeys(lanes, 0)
        self.error = RuntimeError("its device had failed when the last checkpoint was written")


def _is_memory(error: Exception | None) -> bool:
    return isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)


def cut(values: Any, start: int, length: int, tile: int) -> Any:
    """Return nested tensors for `length` lanes from `start` of a tile.

    A tensor's first axis, if it has any, must have the same number of values for each lane, in order.
    """

    def part(value: tf.Tensor) -> tf.Tensor:
        if not value.shape.rank:
            return value
        per_lane = len(value) // tile
        return value[start * per_lane : (start + length) * per_lane]

    return tf.nest.map_structure(part, values)
