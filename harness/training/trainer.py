"""The shared chunked trainer: one scan of a table trains all lanes that want it.

It takes lanes and blocks and yields events; it knows neither where lanes come from nor where events go.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import tensorflow as tf

from harness.data.blocks import Blocks
from harness.errors import ConfigError
from harness.runtime.memory import release_memory
from harness.training.encoding import Encoding
from harness.training.events import Event, Failed, Progress
from harness.training.feed import Feed
from harness.training.gram import GramSteps
from harness.training.lanes import Recipe, Stack
from harness.training.loops import make_loop
from harness.training.metrics import Evaluation
from harness.training.slices import Rows
from harness.training.tile import Lane, Tile


@dataclass
class Clocks:
    """A scan's wall time by what it went to, in seconds."""

    compile: float = 0.0
    read: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the clock `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + time.perf_counter() - start)


@dataclass(frozen=True)
class Cohort:
    """Lanes by index that share compiled loops, `tile` of them a call."""

    lanes: list[int]
    tile: int


class Scan:
    """Lanes that are trained by the same passes over the same rows.

    Attributes:
        clocks: What it has taken so far.
        rows: Of an epoch.
        epochs: Of the longest-lived lane.
        cohorts: Of its lanes.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        train: Blocks,
        holdout: Blocks,
        *,
        tile: int | None = None,
        gram: bool = True,
        workers: int | None = None,
        device: str = "/CPU:0",
        curve_points: int = 1000,
    ) -> None:
        """Build the models of all lanes; nothing is compiled or trained yet.

        Args:
            lanes: The runs; events name them by index.
            train: The rows that are trained on.
            holdout: The rows that are not; there may be none.
            tile: Lanes updated by one call; None means as many as suit the model.
            gram: Whether models that allow it are updated by the Gram matrices of their chunks.
            workers: Calls side by side; None means one a core.
            device: TensorFlow's name of the device.
            curve_points: Points that the loss by update is thinned to, for each lane and stop.

        Raises:
            ConfigError: A model cannot be trained as it is asked for. Any other error in building one is an event.
        """
        self.clocks = Clocks()
        self.rows = train.rows
        self.epochs = max(lane.stops[-1] for lane in lanes)
        self._lanes, self._train, self._holdout = lanes, train, holdout
        self._workers, self._device = workers or os.cpu_count(), device
        self._curve_points = curve_points
        self._tiles: list[Tile] = []
        self.cohorts: list[Cohort] = []
        self._failures: list[Failed] = []
        self._epoch, self._row = 1, 0  # What is trained on next.
        self._build(tile, gram)

    def run(self) -> Generator[Event]:
        """Train all lanes to their last stops, reading each block once an epoch at most.

        Time between events is the consumer's, and on no clock.

        Yields:
            `Progress` after each block, or span of blocks, and each epoch; after each epoch, for each lane, `EpochEnd`
            and at a stop `Stopped`; or once `Diverged` or `Failed`, after which the lane emits no further events.
        """
        yield from self._failures
        with ThreadPoolExecutor(self._workers, initializer=self._pin) as pool:
            train = Feed(self._train, self._device, pool)
            holdout = Feed(self._holdout, self._device, pool)
            with self.clocks.time("compile"):
                self._compile(train, holdout, pool)
                release_memory()
            yield from self._fail()
            for epoch in range(self._epoch, self.epochs + 1):
                active = [tile for tile in self._tiles if tile.active(epoch)]
                if not active:
                    break
                loops = {tile.loop for tile in active}
                for rows in self._timed(train.read(epoch, loops, self._row)):
                    with self.clocks.time("train"):
                        list(pool.map(lambda tile: tile.advance(rows), active))  # noqa: B023
                    yield from self._fail()
                    self._row = rows.stop
                    yield Progress((epoch - 1) * self.rows + rows.stop, epoch)
                for rows in self._timed(holdout.read(epoch)):
                    with self.clocks.time("evaluate"):
                        list(pool.map(lambda tile: tile.evaluate(rows), active))  # noqa: B023
                yield from self._fail()
                for tile in active:
                    yield from tile.end_epoch(epoch, self.rows, self.clocks.train)
                self._epoch, self._row = epoch + 1, 0
                yield Progress(epoch * self.rows, epoch)

    def state(self) -> dict[str, np.ndarray]:
        """Return all that an equal scan needs to go on from the last `Progress`, to the bit: plain arrays."""
        arrays = {
            f"tile/{index}/{key}": value
            for index, tile in enumerate(self._tiles)
            for key, value in tile.state().items()
        }
        return arrays | {
            "position": np.array([self._epoch, self._row]),
            "clocks": np.array([*asdict(self.clocks).values()]),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from the state of an equal scan: `run` then yields what came after it.

        Raises:
            ValueError: It is another scan's.
        """
        tiles = {key.split("/")[1] for key in state if key.startswith("tile/")}
        if len(tiles) != len(self._tiles):
            raise ValueError("a scan's state is of other lanes")
        for index, tile in enumerate(self._tiles):
            prefix = f"tile/{index}/"
            tile.restore({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
        self._epoch, self._row = map(int, state["position"])
        self.clocks = Clocks(*map(float, state["clocks"]))

    def _pin(self) -> None:
        """Have a thread of TensorFlow's compute on the scan's device."""
        tf.device(self._device).__enter__()

    def _fail(self) -> Iterator[Failed]:
        for tile in self._tiles:
            yield from tile.fail()

    def _compile(self, train: Feed, holdout: Feed, pool: ThreadPoolExecutor) -> None:
        """Compile all tiles; what stands for rows in it is let go of afterwards."""
        shapes = train.empty(), holdout.empty() if self._holdout.rows else None
        list(pool.map(lambda tile: tile.compile(*shapes), self._tiles))

    def _build(self, tile: int | None, gram: bool) -> None:
        """Sort lanes into cohorts, and those into tiles, long-lived lanes together; small, slow chunks come first."""

        @functools.cache
        def stack_of(recipe: Recipe) -> tuple[Stack, Evaluation, int, GramSteps | None]:
            stack = Stack(recipe, Encoding(self._train.category_counts))
            stacks.append(stack)
            length = tile or stack.suited_tile
            return stack, Evaluation(stack, self._train.scaler, length), length, GramSteps(stack) if gram else None

        stacks: list[Stack] = []
        cohorts: dict[tuple[int, Recipe], list[int]] = {}
        for index, lane in enumerate(self._lanes):
            cohorts.setdefault((lane.chunk, lane.recipe), []).append(index)
        for (chunk, recipe), members in sorted(cohorts.items(), key=lambda item: item[0][0]):
            try:
                stack, evaluation, length, steps = stack_of(recipe)
                loop = make_loop(stack, chunk, self.rows, steps)
                members.sort(key=lambda index: -self._lanes[index].stops[-1])
                self.cohorts.append(Cohort(members, length))
                for start in range(0, len(members), length):
                    lanes = {index: self._lanes[index] for index in members[start : start + length]}
                    self._tiles.append(Tile(lanes, length, stack, loop, evaluation, self._curve_points))
            except ConfigError:
                raise
            except Exception as error:
                self._failures += [Failed.of(index, error) for index in members]
        for stack in stacks:
            stack.started()

    def _timed(self, blocks: Generator[Rows]) -> Iterator[Rows]:
        """Yield `blocks`, counting the wait for each as reading."""
        with contextlib.closing(blocks):
            while True:
                with self.clocks.time("read"):
                    rows = next(blocks, None)
                if rows is None:
                    return
                yield rows
