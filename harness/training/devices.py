"""Spreads tiles over devices, which train them in parallel. Tiles are independent, so this does not affect results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import tensorflow as tf

from harness.runtime.cores import cores
from harness.training.tile import Tile


class Devices:
    """The devices of a scan.

    Attributes:
        names: TensorFlow's names; the first device also computes everything outside tiles.
        workers: Maximum number of calls that run at the same time.
    """

    def __init__(self, names: Sequence[str], workers: int | None) -> None:
        """Use `workers` parallel calls; None means one per core, or one per GPU."""
        self.names = tuple(names)
        self._takes_turns = workers is None and "GPU" in self.names[0]
        self.workers = len(self.names) if self._takes_turns else workers or len(cores())

    def place(self, tiles: Sequence[Tile]) -> None:
        """Assign each tile to the device with the fewest updates so far."""
        updates = dict.fromkeys(self.names, 0)
        for tile in tiles:
            tile.device = min(updates, key=updates.__getitem__)
            updates[tile.device] += tile.loop.updates

    def take_turns(self) -> bool:
        """Make one call at a time on each device from now on; return False if this was already the case."""
        was_so = self._takes_turns or self.workers == 1
        self._takes_turns = True
        return not was_so

    def each(self, pool: Executor, tiles: Sequence[Tile], work: Callable[[Tile], None]) -> None:
        """Run `work` for all tiles, each on its device."""

        def on_device(some: Sequence[Tile]) -> None:
            for tile in some:
                with tf.device(tile.device):
                    work(tile)

        turns = [[tile for tile in tiles if tile.device == name] for name in self.names]
        list(pool.map(on_device, turns if self._takes_turns else [[tile] for tile in tiles]))
