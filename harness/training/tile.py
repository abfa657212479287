"""A tile and the metrics of its lanes: turns them into events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import tensorflow as tf

from harness.training.events import Diverged, Ending, EpochEnd, Failed, Measured, Stopped
from harness.training.kept_weights import ReadPart, measure_kept, of_test
from harness.training.metrics import Sums
from harness.training.slices import DeviceBlock, NotSent
from harness.training.tile_errors import ends_the_tile, events_end_the_tile
from harness.training.trained_tile import TileSpec, TrainedTile, cut


class Tile(TrainedTile):
    """A tile whose lanes are evaluated on the holdout and the test set."""

    def __init__(self, spec: TileSpec, begin: Sequence[int], length: int) -> None:
        """Stack the lanes; see `TrainedTile`."""
        super().__init__(spec, begin, length)
        self._evaluation = spec.evaluations(length)
        self._sums = self._ended_sums = self._evaluation.start()
        self._test: list[dict[str, float]] = [{}] * length

    @ends_the_tile
    def compile(self, train: DeviceBlock, holdout: DeviceBlock | None) -> None:
        """Compile for blocks with the shapes of these empty ones."""
        self.loop.compile(self._state, train.on(self.device))
        if holdout is not None:
            self._evaluation.add(self._sums, self._state.lanes, holdout.on(self.device))

    def _free(self) -> None:
        super()._free()
        del self._sums, self._ended_sums

    def _keep(self, start: int, length: int) -> None:
        before = self.length
        super()._keep(start, length)
        self._test, self._evaluation = self._test[start : start + length], self.spec.evaluations(length)
        self._sums, self._ended_sums = (cut(each, start, length, before) for each in (self._sums, self._ended_sums))

    @ends_the_tile
    def evaluate(self, block: DeviceBlock) -> None:
        """Add a block of the holdout to the epoch's metrics."""
        self._sums = self._evaluation.add(self._sums, self._state.lanes, block.on(self.device))

    @events_end_the_tile
    def measure(self, epoch: int) -> Iterator[Measured]:
        """Yield each active lane's metrics over the blocks evaluated since the last call or the start of the epoch."""
        metrics = self._evaluation.metrics(self._sums)
        self._start_sums()
        for lane in self.active(epoch):
            if lane not in self._members.diverged:
                yield Measured(lane, self._updates, metrics[self.positions[lane]])

    def _start_sums(self) -> None:
        with tf.device(self.device):  # Not on the first device, which may have failed.
            self._sums = self._evaluation.start()

    def stops(self, epoch: int) -> bool:
        """Return True if an active lane stops after `epoch`."""
        return any(epoch in self.spec.lanes[lane].stops for lane in self.active(epoch))

    def measure_kept(self, event: Stopped, holdout: ReadPart, test: ReadPart | None) -> Stopped | Failed:
        """Return an event of this tile with all measurements; see `harness.training.kept_weights`."""

        def here(read: ReadPart) -> ReadPart:
            return lambda: (block.on(self.device) for block in read())

        try:
            with tf.device(self.device):
                reads = here(holdout), here(test) if test else None
                return measure_kept(event, self.spec.stack, self._evaluation, self._state.lanes, *reads)
        except (tf.errors.OpError, NotSent, MemoryError) as error:
            self.positions.pop(event.lane, None)
            self.error = error
            return self._failed(event.lane, error)

    @ends_the_tile
    def keep_test(self) -> None:
        """Keep the metrics over the blocks evaluated since the start of the epoch as test metrics."""
        found = self._evaluation.metrics(self._sums)
        self._start_sums()
        self._test = [*map(of_test, found)]

    @events_end_the_tile
    def end_epoch(self, epoch: int, rows: int, train_seconds: float) -> Iterator[EpochEnd | Stopped | Diverged]:
        """Yield the results of an epoch over `rows` training rows for each active lane, and prepare the next epoch."""
        losses = self._state.epoch_loss.numpy() / rows
        metrics = self._evaluation.metrics(self._sums)
        weights = [weight.numpy() for weight in self._state.lanes.weights]
        updates, curve = self._curve.kept()
        for lane in self.active(epoch):
            position = self.positions[lane]
            if lane not in self._members.diverged and not all(
                np.isfinite(weight[position]).all() for weight in weights
            ):
                self._members.diverged[lane] = self._updates
            if lane in self._members.diverged:
                del self.positions[lane]
                yield Diverged(lane, self._members.diverged[lane])
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
            self._best.see(end, lambda: self.spec.stack.weights(self._state.lanes, position))  # noqa: B023
            yield end
            if epoch in self.spec.lanes[lane].stops:
                yield self._stopped(lane, epoch, (epoch,), Ending.reached, self._sums, self._test[position])
        self._ended_sums = self._sums
        self._start_sums()
        with tf.device(self.device):
            self._state = self._state._replace(epoch_loss=self._state.epoch_loss * 0)
        self._curve.clear()

    @events_end_the_tile
    def leave(self, lanes: Mapping[int, Ending], epoch: int) -> Iterator[Stopped]:
        """End the `lanes` that would train beyond `epoch`."""
        for lane in self.active(epoch + 1):
            if lane in lanes:
                stops = tuple(stop for stop in self.spec.lanes[lane].stops if stop > epoch)
                yield self._stopped(lane, epoch, stops, lanes[lane], self._ended_sums)
                self.positions.pop(lane, None)  # Evaluating its weights may have failed.

    def drop(self, lanes: Collection[int]) -> None:
        """End `lanes` without an event, even within an epoch."""
        for lane in lanes:
            self.positions.pop(lane, None)
        if not self.positions:
            self._curve.clear()  # Without lanes, nothing else clears it.

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
        weights = self.spec.stack.weights(self._state.lanes, position)
        return Stopped(lane, epoch, stops, weights, ending, None, confusion, dict(test))
