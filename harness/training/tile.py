"""The lanes of a cohort that are updated by the same calls, and the status of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import tensorflow as tf

from harness.training.best_epochs import BestEpochs
from harness.training.curves import TileCurve
from harness.training.events import Diverged, Ending, EpochEnd, Failed, Measured, Stopped
from harness.training.kept_weights import ReadPart, measure_kept, of_test
from harness.training.lane import Lane
from harness.training.lanes import Stack
from harness.training.loops import Loop
from harness.training.metrics import Evaluation, Sums
from harness.training.saved_state import State, array, numbers, require_names
from harness.training.slices import DeviceBlock
from harness.training.tile_errors import ends_the_tile, events_end_the_tile


class Tile:
    """At most `length` lanes of one cohort, by index; unused positions hold copies of the last lane.

    Attributes:
        positions: The lanes that are still training in this tile.
    """

    def __init__(
        self,
        lanes: Mapping[int, Lane],
        length: int,
        stack: Stack,
        loop: Loop,
        evaluation: Evaluation,
        curve_points: int,
        early: Collection[int] = (),
        cohort: Mapping[int, Lane] = MappingProxyType({}),
    ) -> None:
        """Stack the lanes.

        Args:
            lanes: The initial lanes, by index.
            length: Lanes updated by one call.
            stack: The lanes' stack.
            loop: The lanes' loop.
            evaluation: The evaluation on the holdout.
            curve_points: Maximum number of points in a curve of losses by update.
            early: The updates after which `advance` pauses for an evaluation.
            cohort: All lanes that this tile may take over from others.
        """
        padded = [*lanes.values()] + [[*lanes.values()][-1]] * (length - len(lanes))
        self.lanes, self.length = {**lanes, **cohort}, length
        self.error: Exception | None = None
        self.device = ""  # TensorFlow's name for the device that trains it.
        self._chunk = padded[0].chunk
        self._home = {lane: position for position, lane in enumerate(lanes)}
        self.positions = dict(self._home)
        self._stack, self.loop, self._evaluation = stack, loop, evaluation
        self._state = loop.start(stack.start([lane.seed for lane in padded], [lane.learning_rate for lane in padded]))
        self._sums = self._ended_sums = evaluation.start()
        self._updates = 0
        totals = {stop * loop.updates for spec in self.lanes.values() for stop in spec.stops}
        self._curve = TileCurve(length, totals, curve_points)
        self._diverged: dict[int, int] = {}
        self._best = BestEpochs({lane: spec.restore for lane, spec in self.lanes.items() if spec.restore})
        self._test: list[dict[str, float]] = [{}] * length
        self._early = sorted(early)
        self._paused_at: int | None = None  # The row up to which the current block has been trained on.

    @property
    def is_paused(self) -> bool:
        """Whether `advance` has paused within the block for an evaluation, and must be called again for the rest."""
        return self._paused_at is not None and self.error is None

    def active(self, epoch: int) -> list[int]:
        """Return the lanes that train in `epoch`."""
        if self.error:
            return []
        return [lane for lane in self.positions if self.lanes[lane].stops[-1] >= epoch]

    @ends_the_tile
    def take(self, moving: Sequence[tuple[Tile, int]], epoch: int) -> None:
        """Before `epoch`, take over lanes of the cohort's other tiles at positions whose lanes have stopped training.

        If a tile turns out to have failed, its lanes stay there.
        """
        self.positions = {lane: self.positions[lane] for lane in self.active(epoch)}
        free = [position for position in range(self.length) if position not in self.positions.values()]
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
        self._state = self._state._replace(lanes=lanes)  # Between epochs, nothing else in the state belongs to a lane.

    def _values_of(self, lane: int) -> list[np.ndarray]:
        """Return a lane's weights and optimizer state; None if the tile has failed."""
        found: list[np.ndarray] = []
        if self.error is None:
            try:
                found = [tensor[self.positions[lane]].numpy() for tensor in tf.nest.flatten(self._state.lanes)]
            except Exception as error:
                self.error = error
        return found

    def updates_before(self, row: int, rows: int) -> int:
        """Return the number of an epoch's updates that end before `row` of `rows`."""
        return self.loop.updates if row == rows else row // self._chunk

    @ends_the_tile
    def compile(self, train: DeviceBlock, holdout: DeviceBlock | None) -> None:
        """Compile for blocks with the shapes of these empty ones."""
        self.loop.compile(self._state, train.on(self.device))
        if holdout is not None:
            self._evaluation.add(self._sums, self._state.lanes, holdout.on(self.device))

    @ends_the_tile
    def advance(self, block: DeviceBlock) -> None:
        """Run the updates that end in a block, up to the next pause."""
        start = block.start if self._paused_at is None else self._paused_at
        pause = self._next_pause(start, block.stop)
        self._paused_at, stop = pause, block.stop if pause is None else pause
        self._state, values = self.loop.advance(self._state, block.on(self.device).part(start, stop))
        numbers = np.arange(self._updates + 1, self._updates + 1 + len(values))
        self._updates += len(values)
        for lane, position in self.positions.items():
            if lane not in self._diverged and not (finite := np.isfinite(values[:, position])).all():
                self._diverged[lane] = int(numbers[finite.argmin()])
        self._curve.add(numbers, values)

    def _next_pause(self, start: int, stop: int) -> int | None:
        """Return the row of an epoch at which the next early update ends, if it is in `(start, stop]`."""
        before = self._updates - start // self._chunk
        rows = ((update - before) * self._chunk for update in self._early if update > self._updates)
        row = next(rows, None)
        return row if row is not None and row <= stop else None

    @ends_the_tile
    def evaluate(self, block: DeviceBlock) -> None:
        """Add a block of the holdout to the epoch's metrics."""
        self._sums = self._evaluation.add(self._sums, self._state.lanes, block.on(self.device))

    @events_end_the_tile
    def measure(self, epoch: int) -> Iterator[Measured]:
        """Yield each active lane's metrics over the blocks evaluated since the last call or the start of the epoch."""
        metrics, self._sums = self._evaluation.metrics(self._sums), self._evaluation.start()
        for lane in self.active(epoch):
            if lane not in self._diverged:
                yield Measured(lane, self._updates, metrics[self.positions[lane]])

    def stops(self, epoch: int) -> bool:
        """Return True if an active lane stops after `epoch`."""
        return any(epoch in self.lanes[lane].stops for lane in self.active(epoch))

    def measure_kept(self, event: Stopped, holdout: ReadPart, test: ReadPart | None) -> Stopped:
        """Return an event of this tile with all measurements; see `harness.training.kept_weights`."""
        return measure_kept(event, self._stack, self._evaluation, self._state.lanes, holdout, test)

    @ends_the_tile
    def keep_test(self) -> None:
        """Keep the metrics over the blocks evaluated since the start of the epoch as test metrics."""
        found, self._sums = self._evaluation.metrics(self._sums), self._evaluation.start()
        self._test = [*map(of_test, found)]

    def fail(self) -> Iterator[Failed]:
        """Yield the lanes ended by an error, once."""
        if self.error:
            yield from (self._failed(lane, self.error) for lane in self.positions)
            self.positions = {}

    def _failed(self, lane: int, error: Exception) -> Failed:
        if self.length > 1 and isinstance(error, tf.errors.ResourceExhaustedError):
            remedy = f"Use runtime.lane_tile={self.length // 2}"
            return Failed(lane, f"{self.device} ran out of memory, with {self.length} lanes per call. {remedy}.")
        return Failed.of(lane, error)

    def state(self) -> dict[str, np.ndarray]:
        """Return the state from which a tile of the same lanes can continue; incomplete during an evaluation.

        If the tile has failed, possibly unnoticed, the state contains only the lanes whose failure has not been
        reported yet, since the tensors may be on a device that is gone.
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
            "positions": np.array(list(self.positions.items()), np.int64).reshape(-1, 2),
            "diverged": np.array(list(self._diverged.items()), np.int64).reshape(-1, 2),
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
            ValueError: The state belongs to other lanes or to another position.
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
        positions = numbers(state, "positions", [None, 2], 0, max(*self.lanes, self.length - 1)).tolist()
        diverged = dict(numbers(state, "diverged", [None, 2], 0, max(done, *self.lanes)).tolist())
        curve = numbers(state, "curve/numbers", [None], before + 1, done)
        losses = array(state, "curve/values", np.float32, [len(curve), len(self._state.epoch_loss)])
        # Lanes of this tile keep their positions; other lanes may have been added.
        is_possible = all(
            lane in self.lanes and position < self.length and self._home.get(lane, position) == position
            for lane, position in positions
        )
        is_possible &= all(len({*column}) == len(positions) for column in zip(*positions, strict=True))
        if not is_possible or not diverged.keys() <= self.lanes.keys() or state["chunk"] != self._chunk:
            raise ValueError("it belongs to other lanes")
        self.positions, self._diverged = dict(positions), diverged
        if (self.active(epoch) and done != before + updates) or (np.diff(curve) <= 0).any():
            raise ValueError("its updates do not fit its position")
        self._state = tf.nest.pack_sequence_as(self._state, [tf.constant(value) for value in values])
        self._updates = done
        self._curve.restore(curve, losses)

    def _restore_failed(self, state: State) -> None:
        require_names(state, ["failed"])
        lanes = numbers(state, "failed", [None], 0, max(self.lanes)).tolist()
        if not self.lanes.keys() >= {*lanes}:
            raise ValueError("it belongs to other lanes")
        self.positions = dict.fromkeys(lanes, 0)
        self.error = RuntimeError("its device had failed when the last checkpoint was written")

    @events_end_the_tile
    def end_epoch(self, epoch: int, rows: int, train_seconds: float) -> Iterator[EpochEnd | Stopped | Diverged]:
        """Yield the results of an epoch over `rows` training rows for each active lane, and prepare the next epoch."""
        losses = self._state.epoch_loss.numpy() / rows
        metrics = self._evaluation.metrics(self._sums)
        weights = [weight.numpy() for weight in self._state.lanes.weights]
        updates, curve = self._curve.kept()
        for lane in self.active(epoch):
            position = self.positions[lane]
            if lane not in self._diverged and not all(np.isfinite(weight[position]).all() for weight in weights):
                self._diverged[lane] = self._updates
            if lane in self._diverged:
                del self.positions[lane]
                yield Diverged(lane, self._diverged[lane])
                continue
            end = EpochEnd(
                lane,
                epoch,
                self._updates,
                float(losses[position]),
                metrics[position],
                train_seconds,
                (updates, curve[:, position]),
            )
            self._best.see(end, lambda: self._stack.weights(self._state.lanes, position))  # noqa: B023
            yield end
            if epoch in self.lanes[lane].stops:
                yield self._stopped(lane, epoch, (epoch,), Ending.reached, self._sums, self._test[position])
        self._state = self._state._replace(epoch_loss=self._state.epoch_loss * 0)
        self._ended_sums, self._sums = self._sums, self._evaluation.start()
        self._curve.clear()

    @events_end_the_tile
    def leave(self, lanes: Mapping[int, Ending], epoch: int) -> Iterator[Stopped]:
        """End those of `lanes` that would train beyond `epoch`."""
        for lane in self.active(epoch + 1):
            if lane in lanes:
                stops = tuple(stop for stop in self.lanes[lane].stops if stop > epoch)
                yield self._stopped(lane, epoch, stops, lanes[lane], self._ended_sums)
                del self.positions[lane]

    def _stopped(
        self,
        lane: int,
        epoch: int,
        stops: tuple[int, ...],
        ending: Ending,
        sums: Sums,
        test: Mapping[str, float] = MappingProxyType({}),
    ) -> Stopped:
        """Return the event; `sums` and `test` belong to the weights of `epoch`, not to those of a better epoch."""
        position = self.positions[lane]
        confusion = self._evaluation.confusion(sums, position)
        if best := self._best.of(lane):
            restored, weights = best
            is_last = restored.epoch == epoch
            measured = (confusion, dict(test)) if is_last else (None, {})
            return Stopped(lane, epoch, stops, weights, ending, restored, *measured)
        weights = self._stack.weights(self._state.lanes, position)
        return Stopped(lane, epoch, stops, weights, ending, None, confusion, dict(test))
