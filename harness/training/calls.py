"""Makes the calls that train tiles.

Calls that run out of memory are repeated with less work at a time, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor

from harness.formatting import count
from harness.training.arrangement import Arrangement
from harness.training.devices import Devices
from harness.training.events import OutOfMemory
from harness.training.tile import Tile


class Calls:
    """Calls for some or all tiles of a scan.

    Attributes:
        notices: Changes made for lack of memory that have not been reported yet.
    """

    def __init__(self, devices: Devices, arranged: Arrangement) -> None:
        self._devices, self._arranged = devices, arranged
        self.notices: list[OutOfMemory] = []

    def each(self, pool: Executor, tiles: Sequence[Tile], work: Callable[[Tile], None]) -> list[Tile]:
        """Run `work` for all tiles, each on its device; return them, or the smaller ones that have replaced them.

        `work` must change nothing if it fails. Calls that run out of memory are repeated one at a time, which gives the
        same results, and then in smaller tiles, which changes the last bits of results. Tiles whose length the user has
        chosen are never made smaller.
        """
        tiles = [*tiles]
        failed = {tile for tile in tiles if tile.error}  # Elsewhere: their work is not repeated.
        self._devices.each(pool, tiles, work)
        if (short := _short(tiles, failed)) and len(tiles) > 1 and self._devices.take_turns():
            self.notices.append(OutOfMemory((), f"{_names(short)} ran out of memory; now making one call at a time"))
            for tile in short:
                tile.error = None
            self._devices.each(pool, short, work)
        while short := [tile for tile in _short(tiles, failed) if tile.length > 1 and not tile.spec.is_fixed]:
            again: list[Tile] = []
            for number in dict.fromkeys(tile.spec.cohort for tile in short):
                replaced = self._shrink(number, [tile for tile in short if tile.spec.cohort == number])
                again += [part for tile in short for part in replaced.get(tile, ()) if part.positions]
                tiles = [part for tile in tiles for part in replaced.get(tile, [tile]) if part.positions]
            self._devices.each(pool, again, work)
        return tiles

    def _shrink(self, number: int, short: Sequence[Tile]) -> dict[Tile, Sequence[Tile]]:
        before = self._arranged.cohorts[number].tile
        replaced = self._arranged.shrink(number)
        now = self._arranged.cohorts[number].tile
        lanes = tuple(lane for parts in replaced.values() for part in parts for lane in part.positions)
        sentence = (
            f"{_names(short)} ran out of memory with {before} lanes per call; continuing with {count(now, 'lane')}"
        )
        self.notices.append(OutOfMemory(lanes, f"{sentence}, which changes the last bits of results"))
        return dict(replaced)


def _short(tiles: Sequence[Tile], failed: Collection[Tile]) -> list[Tile]:
    return [tile for tile in tiles if tile.lacks_memory and tile not in failed]


def _names(tiles: Sequence[Tile]) -> str:
    return " and ".join(sorted({tile.device for tile in tiles}))
