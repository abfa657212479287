"""Lanes of one cohort that one call updates, and what has become of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from harness.training.events import Diverged, EpochEnd, Failed, Stopped
from harness.training.lanes import Recipe, Stack
from harness.training.loops import Loop
from harness.training.metrics import Evaluation
from harness.training.slices import Rows


@dataclass(frozen=True)
class Lane:
    """One run, as the trainer sees it; lanes of the same chunk and recipe form a cohort.

    Attributes:
        chunk: Rows of an update, at most the rows there are.
        recipe: Model, optimizer and loss.
        seed: Of the initial weights and the layers' random streams.
        learning_rate: Of the optimizer.
        stops: Epochs after which a result is wanted, ascending; the lane trains to the last.
    """

    chunk: int
    recipe: Recipe
    seed: int
    learning_rate: float
    stops: tuple[int, ...]


def thinned(updates: np.ndarray, total: int, points: int) -> np.ndarray:
    """Return which `updates` (numbers from 1) stay in a curve over `total` of them, thinned to at most `points`.

    The first and the last update always stay.
    """
    stride = -(-total // (points - 2))
    return (updates % stride == 0) | (updates == 1) | (updates == total)


class Tile:
    """At most `length` lanes of one cohort, by index; the places left are filled with copies of the last one."""

    def __init__(
        self,
        lanes: Mapping[int, Lane],
        length: int,
        stack: Stack,
        loop: Loop,
        evaluation: Evaluation,
        curve_points: int,
    ) -> None:
        padded = [*lanes.values()] + [[*lanes.values()][-1]] * (length - len(lanes))
        self.lanes = dict(lanes)
        self.error: Exception | None = None
        self._chunk, self._curve_points = padded[0].chunk, curve_points
        self._places = {lane: place for place, lane in enumerate(lanes)}
        self._stack, self.loop, self._evaluation = stack, loop, evaluation
        self._carry = loop.start(stack.start([lane.seed for lane in padded], [lane.learning_rate for lane in padded]))
        self._sums = evaluation.start()
        self._updates = 0
        self._diverged: dict[int, int] = {}
        self._curve: list[tuple[np.ndarray, np.ndarray]] = []

    def active(self, epoch: int) -> list[int]:
        """Return the lanes that train in `epoch`."""
        if self.error:
            return []
        return [lane for lane, spec in self.lanes.items() if spec.stops[-1] >= epoch and lane in self._places]

    def compile(self, train: Rows, holdout: Rows | None) -> None:
        """Compile for blocks of these shapes, without a trace in any number."""
        self._attempt(lambda: self.loop.compile(self._carry, train))
        if holdout is not None:
            self._attempt(
                lambda: self._evaluation.add(self._sums, self._carry.state, holdout._replace(stop=0, start=0))
            )

    def advance(self, rows: Rows) -> None:
        """Take the updates that end in a block."""
        self._attempt(lambda: self._advance(rows))

    def evaluate(self, rows: Rows) -> None:
        """Add a block of the holdout to the epoch's metrics."""

        def add() -> None:
            self._sums = self._evaluation.add(self._sums, self._carry.state, rows)

        self._attempt(add)

    def fail(self) -> Iterator[Failed]:
        """Yield the lanes that an error has ended, once."""
        if self.error:
            yield from (Failed.of(lane, self.error) for lane in self._places)
            self._places = {}

    def state(self) -> dict[str, np.ndarray]:
        """Return all that a tile of the same lanes needs to go on from here; not within an evaluation."""
        numbers, values = self._epoch_curve()
        return {
            "places": np.array(list(self._places.items()), np.int64).reshape(-1, 2),
            "diverged": np.array(list(self._diverged.items()), np.int64).reshape(-1, 2),
            "chunk": np.array(self._chunk),
            "updates": np.array(self._updates),
            "curve/numbers": numbers,
            "curve/values": values,
            **{f"carry/{index}": value.numpy() for index, value in enumerate(tf.nest.flatten(self._carry))},
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state.

        Raises:
            ValueError: It is of other lanes.
        """
        carry = [state[f"carry/{index}"] for index in range(sum(key.startswith("carry/") for key in state))]
        shapes = [(*value.shape,) for value in tf.nest.flatten(self._carry)]
        if shapes != [value.shape for value in carry] or state["chunk"] != self._chunk:
            raise ValueError("a tile's state is of other lanes")
        self._carry = tf.nest.pack_sequence_as(self._carry, [tf.constant(value) for value in carry])
        self._places, self._diverged = (dict(state[name].tolist()) for name in ("places", "diverged"))
        self._updates = int(state["updates"])
        self._curve = [(state["curve/numbers"], state["curve/values"])]

    def end_epoch(self, epoch: int, rows: int, train_seconds: float) -> Iterator[EpochEnd | Stopped | Diverged]:
        """Yield what the epoch, of `rows` training rows, was to each active lane, and make ready for the next."""
        if self.error:
            return
        losses = self._carry.epoch_loss.numpy() / rows
        metrics = self._evaluation.metrics(self._sums)
        weights = [weight.numpy() for weight in self._carry.state.weights]
        updates, curve = self._epoch_curve()
        for lane in self.active(epoch):
            place = self._places[lane]
            if lane not in self._diverged and not all(np.isfinite(weight[place]).all() for weight in weights):
                self._diverged[lane] = self._updates
            if lane in self._diverged:
                del self._places[lane]
                yield Diverged(lane, self._diverged[lane])
                continue
            yield EpochEnd(
                lane,
                epoch,
                self._updates,
                float(losses[place]),
                metrics[place],
                train_seconds,
                (updates, curve[:, place]),
            )
            if epoch in self.lanes[lane].stops:
                yield Stopped(lane, epoch, (epoch,), self._stack.load(self._carry.state, place).get_weights())
        self._carry = self._carry._replace(epoch_loss=self._carry.epoch_loss * 0)
        self._sums = self._evaluation.start()
        self._curve = []

    def _epoch_curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers and losses `[updates, tile]` of the updates of this epoch that are kept."""
        if not self._curve:
            return np.zeros(0, np.int64), np.zeros((0, len(self._carry.epoch_loss)), np.float32)
        return np.concatenate([numbers for numbers, _ in self._curve]), np.concatenate([v for _, v in self._curve])

    def _advance(self, rows: Rows) -> None:
        self._carry, values = self.loop.advance(self._carry, rows)
        numbers = np.arange(self._updates + 1, self._updates + 1 + len(values))
        self._updates += len(values)
        for lane, place in self._places.items():
            if lane not in self._diverged and not (finite := np.isfinite(values[:, place])).all():
                self._diverged[lane] = int(numbers[finite.argmin()])
        totals = {stop * self.loop.updates for spec in self.lanes.values() for stop in spec.stops}
        keep = np.any([thinned(numbers, total, self._curve_points) for total in totals], axis=0)
        self._curve.append((numbers[keep], values[keep]))

    def _attempt(self, work) -> None:
        """Keep an error as this tile's own, so that other tiles go on."""
        if self.error is None:
            try:
                work()
            except Exception as error:
                self.error = error
