"""The chunked trainer: one scan of a table trains all of its lanes together and yields events."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields

import numpy as np
import tensorflow as tf

from harness.data.blocks import SLICE_ROWS, Blocks
from harness.runtime.device import total_bytes
from harness.runtime.memory import release_memory
from harness.training.alone import time_lanes
from harness.training.arrangement import MeasuredTile, form_cohorts
from harness.training.calls import Calls
from harness.training.clocks import Clocks
from harness.training.cohort import Cohort
from harness.training.devices import Devices
from harness.training.encoding import Encoding
from harness.training.events import Ending, EpochEnd, Event, Failed, OutOfMemory, Progress, Stopped
from harness.training.feed import Feed, FeedLimits
from harness.training.lane import Lane
from harness.training.packing import pack, require_one_place
from harness.training.saved_state import arrays_under, durations, position, require_names
from harness.training.scan_memory import Load, blocks_bytes
from harness.training.slices import DeviceBlock, NotSent
from harness.training.stopper import Stopper
from harness.training.tile import Tile


class Scan:
    """Lanes that are trained in the same passes over the same rows.

    Attributes:
        clocks: Time spent so far.
        rows: Number of training rows, which is the number of rows per epoch.
        epochs: Number of epochs of the lane that trains longest.
        reduction: A sentence that says what was reduced for lack of memory before training; empty if nothing was.
        workers: Maximum number of calls at the same time.
        block_bytes: Size of a block of training rows in bytes.
        device_bytes: Memory of the scan's device in bytes; 0 if unknown.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        train: Blocks,
        holdout: Blocks,
        encoding: Encoding,
        *,
        tile: int | None = None,
        measured: MeasuredTile = lambda kind: None,
        gram: bool = True,
        workers: int | None = None,
        device: str = "/CPU:0",
        other_devices: Sequence[str] = (),
        device_bytes: int = 0,
        free_bytes: float = math.inf,
        curve_points: int = 1000,
        early: bool = False,
        test: Blocks | None = None,
        stopper: Stopper | None = None,
        feed_limits: FeedLimits = FeedLimits(),  # noqa: B008 (frozen)
    ) -> None:
        """Build the models of all lanes; nothing is compiled or trained yet.

        Args:
            lanes: The lanes to train; events refer to them by index.
            train: The training rows.
            holdout: The held-out rows; there may be none.
            encoding: How features become inputs.
            tile: Lanes updated by one call; None chooses by device and model, see `harness.training.tile_length`.
            measured: Returns tiles that replace the default ones; `tile` takes precedence.
            gram: Whether to use Gram matrices of chunks where they are faster.
            workers: Number of parallel calls; None means one per core, or one per GPU.
            device: TensorFlow's name for the device.
            other_devices: Devices that train some of the tiles.
            device_bytes: Usable memory of the device, which limits tiles; 0 if unknown.
            free_bytes: Memory into which the scan is made to fit, with fewer calls at once and smaller tiles.
            curve_points: Maximum number of points in a curve of losses by update, for each lane and stop.
            early: Whether to also evaluate lanes during the first epochs; see `harness.training.early`.
            test: Rows on which a lane is evaluated when it stops.
            stopper: Ends lanes before their last stop.
            feed_limits: Limits on joined blocks and kept Gram matrices.

        Raises:
            ConfigError: A model cannot be trained as configured. Any other error while building one becomes an event.
        """
        self.clocks = Clocks()
        self.rows = train.rows
        self.epochs = max(lane.stops[-1] for lane in lanes)
        self._lanes, self._train, self._holdout = lanes, train, holdout
        self._device, self._devices = device, Devices([device, *other_devices], workers)
        self._stopper, self._feed_limits = stopper, feed_limits
        self._test = test if test and test.rows else None
        self._epoch, self._row = 1, 0  # The position at which training continues.
        arranged = self._arranged = form_cohorts(
            *(lanes, train, holdout, encoding, device),
            device_bytes=device_bytes,
            tile=tile,
            measured=measured,
            gram=gram,
            curve_points=curve_points,
            early=early,
        )
        self._slice_rows = arranged.slice_rows
        if (self._slice_rows, arranged.overlap) != (SLICE_ROWS, SLICE_ROWS):
            self._train = self._train.cut(self._slice_rows, arranged.overlap)
            self._holdout = self._holdout.cut(self._slice_rows, 0)
            self._test = self._test and self._test.cut(self._slice_rows, 0)
        self.block_bytes, self.device_bytes = self._train.bytes, total_bytes(device)
        load = self._load
        fitted = load.fitted(free_bytes)
        self.reduction = fitted.difference(load, free_bytes)
        arranged.cohorts = [*fitted.cohorts]
        if fitted.calls < load.calls:
            self._devices.workers = fitted.calls * fitted.devices
        self.workers = self._devices.workers
        arranged.build()
        self._devices.place(arranged.tiles)
        self._calls = Calls(self._devices, arranged)

    @property
    def cohorts(self) -> Sequence[Cohort]:
        """The cohorts that the lanes form."""
        return self._arranged.cohorts

    def run(self) -> Generator[Event]:
        """Train all lanes to their last stops, reading each block at most once per epoch.

        The time that the consumer spends between events is not counted by any clock.

        Yields:
            `Progress` after each block (or group of joined blocks) and after each epoch. `Measured` within the first
            epochs, if requested. `OutOfMemory` when something was reduced. After each epoch, each lane emits
            `EpochEnd`, followed by `Stopped` if it stops there; or else `Diverged` or `Failed` once, and then no
            further events.
        """
        yield from self._arranged.failures
        with ThreadPoolExecutor(self._devices.workers) as pool:
            train, holdout = (self._feed(blocks, pool) for blocks in (self._train, self._holdout))
            with self.clocks.time("compile"):
                self._compile(train, holdout, pool)
                release_memory()
            yield from self._ended()
            for epoch in range(self._epoch, self.epochs + 1):
                if not (loops := {tile.loop for tile in self._active(epoch)}):
                    break
                for block in self.clocks.reading(train.read(epoch, loops, self._row)):
                    yield from self._train_on(pool, self._active(epoch), block, holdout, epoch)
                    self._row = block.stop
                    yield Progress((epoch - 1) * self.rows + block.stop, epoch)
                if self._test and (stopping := [tile for tile in self._active(epoch) if tile.stops(epoch)]):
                    for tile in self._evaluate(pool, stopping, self._feed(self._test, pool), epoch):
                        tile.keep_test()
                active = self._evaluate(pool, self._active(epoch), holdout, epoch)
                yield from self._ended()
                for tile, event in self._end_epoch(active, epoch):
                    if isinstance(event, Stopped) and event.ending is not Ending.pruned:
                        yield self._measure_kept(pool, tile, event, holdout)
                    else:
                        yield event
                yield from self._ended()
                pack(self._arranged.tiles, epoch + 1)
                yield from self._ended()
                self._epoch, self._row = epoch + 1, 0
                yield Progress(epoch * self.rows, epoch)

    @property
    def bytes(self) -> float:
        """Bytes that the scan needs at once on each device."""
        return self._load.bytes

    @property
    def _load(self) -> Load:
        devices = len(self._devices.names) if "GPU" in self._device else 1
        calls = max(1, min(-(-self._devices.workers // devices), sum(cohort.tiles for cohort in self.cohorts)))
        return Load(self.cohorts, blocks_bytes(self._train, self._holdout), calls, devices)

    def state(self) -> dict[str, np.ndarray]:
        """Return the state, as plain arrays, from which an identical scan continues bit-identically.

        The state is complete right after a `Progress` event.
        """
        arrays = {
            f"tile/{index}/{key}": value
            for index, tile in enumerate(self._arranged.tiles)
            for key, value in tile.state().items()
        } | self._arranged.state()
        if self._stopper:
            arrays |= {f"stopper/{key}": value for key, value in self._stopper.state().items()}
        return arrays | {
            "position": np.array([self._epoch, self._row]),
            "clocks": np.array([*asdict(self.clocks).values()]),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the state of an identical scan; `run` then yields the events that followed that state.

        Raises:
            ValueError: The state does not belong to this scan, or has been changed.
            KeyError: An array is missing.
        """
        epoch, row = position(state, self.epochs, self.rows, self._slice_rows)
        clocks = durations(state, "clocks", len(fields(Clocks)))
        if self._arranged.restore(state):
            self._devices.place(self._arranged.tiles)
            self.reduction = ""
        tiles = [arrays_under(f"tile/{index}/", state) for index in range(len(self._arranged.tiles))]
        stopper = arrays_under("stopper/", state) if self._stopper else {}
        known = {f"tile/{index}/{name}" for index, tile in enumerate(tiles) for name in tile}
        require_names(state, {"position", "clocks", "tiles", *known, *(f"stopper/{name}" for name in stopper)})
        for tile, arrays in zip(self._arranged.tiles, tiles, strict=True):
            tile.restore(arrays, epoch, tile.updates_before(row, self.rows))
        require_one_place(self._arranged.tiles)
        if self._stopper:
            self._stopper.restore(stopper)
        self._epoch, self._row = epoch, row
        self.clocks = Clocks(*clocks)

    def leave(self, lanes: Collection[int]) -> None:
        """End lanes before `run`, without events; they are neither trained nor evaluated."""
        for tile in self._arranged.tiles:
            tile.drop(lanes)

    def time_alone(self, lanes: Collection[int]) -> dict[int, float]:
        """Return the seconds that one update of each of these lanes takes when trained alone.

        This is measured once for each kind of update; lanes for which it cannot be measured are left out.
        """
        with ThreadPoolExecutor(1) as pool, tf.device(self._device), contextlib.suppress(NotSent):
            block = self._feed(self._train, pool).empty().on(self._device)
            kinds = [{lane: self._lanes[lane] for lane in cohort.lanes if lane in lanes} for cohort in self.cohorts]
            return time_lanes(kinds, self._arranged.stacks, block)
        return {}

    def _feed(self, blocks: Blocks, pool: ThreadPoolExecutor) -> Feed:
        return Feed(blocks, self._devices.names, pool, self._feed_limits)

    def _train_on(
        self, pool: ThreadPoolExecutor, tiles: Sequence[Tile], block: DeviceBlock, holdout: Feed, epoch: int
    ) -> Iterator[Event]:
        """Train on a block; tiles that pause are evaluated together before they continue."""
        while tiles:
            with self.clocks.time("train"):
                tiles = self._calls.each(pool, tiles, lambda tile: tile.advance(block))
            yield from self._ended()
            tiles = [tile for tile in tiles if tile.is_paused]
            if tiles:
                tiles = self._evaluate(pool, tiles, holdout, epoch)
                yield from self._ended()
                for tile in tiles:
                    yield from tile.measure(epoch)

    def _evaluate(self, pool: ThreadPoolExecutor, tiles: Sequence[Tile], holdout: Feed, epoch: int) -> Sequence[Tile]:
        for block in self.clocks.reading(holdout.read(epoch)):
            with self.clocks.time("evaluate"):
                tiles = self._calls.each(pool, tiles, lambda tile: tile.evaluate(block))  # noqa: B023
        return tiles

    def _active(self, epoch: int) -> list[Tile]:
        return [tile for tile in self._arranged.tiles if tile.active(epoch)]

    def _ended(self) -> Iterator[OutOfMemory | Failed]:
        yield from self._calls.notices
        self._calls.notices.clear()
        for tile in self._arranged.tiles:
            yield from tile.fail()

    def _measure_kept(self, pool: ThreadPoolExecutor, tile: Tile, event: Stopped, holdout: Feed) -> Stopped | Failed:
        test = self._feed(self._test, pool) if self._test else None
        return tile.measure_kept(
            event,
            lambda: self.clocks.reading(holdout.read(event.epoch)),
            (lambda: self.clocks.reading(test.read(event.epoch))) if test else None,
        )

    def _end_epoch(self, active: Sequence[Tile], epoch: int) -> Iterator[tuple[Tile, Event]]:
        ends: list[EpochEnd] = []
        for tile in active:
            for event in tile.end_epoch(epoch, self.rows, self.clocks.train):
                if isinstance(event, EpochEnd):
                    ends.append(event)
                yield tile, event
        if self._stopper and (leaving := self._stopper.leaving(ends)):
            for tile in active:
                yield from ((tile, event) for event in tile.leave(leaving, epoch))

    def _compile(self, train: Feed, holdout: Feed, pool: ThreadPoolExecutor) -> None:
        """Compile all tiles with empty blocks, which are freed afterwards."""
        blocks = train.empty(), holdout.empty() if self._holdout.rows else None
        tiles = [tile for tile in self._arranged.tiles if tile.positions]
        self._calls.each(pool, tiles, lambda tile: tile.compile(*blocks))
