"""Computes the memory that a scan needs and, before the scan starts, reduces it to what is available."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.data.blocks import Blocks
from harness.formatting import count, data_size
from harness.training.cohort import Cohort
from harness.training.tile_length import smaller

READ_AHEAD = 4
"""Blocks in memory at once: two read ahead, and two on the device."""


def blocks_bytes(*parts: Blocks) -> float:
    """Return the bytes of the blocks of the part that needs the most memory."""
    return max(part.bytes * (READ_AHEAD if part.rows > part.block_rows else 1) for part in parts)


class Load(NamedTuple):
    """What a scan has in memory at once.

    Attributes:
        cohorts: The cohorts, whose tiles are in memory.
        blocks: Bytes of the blocks of rows.
        calls: Number of simultaneous calls on a device.
        devices: Number of devices with memory of their own.
    """

    cohorts: Sequence[Cohort]
    blocks: float
    calls: int
    devices: int = 1

    @property
    def bytes(self) -> float:
        """Bytes on each device."""
        lanes = sum(each.tiles * each.state_bytes for each in self.cohorts)
        calls = sorted(each.call_bytes for each in self.cohorts for _ in range(each.tiles))
        return self.blocks + lanes / self.devices + sum(calls[-self.calls :])

    def fitted(self, free: float) -> Load:
        """Return a load that fits into `free` bytes: with fewer calls at once, then with smaller tiles.

        If none fits, this load is returned.
        """
        load = self
        while load.bytes > free:
            cohorts = [*load.cohorts]
            if load.calls > 1:
                load = load._replace(calls=load.calls - 1)
                continue
            number = max(range(len(cohorts)), key=lambda number: cohorts[number].call_bytes)
            largest = cohorts[number]
            if largest.tile == 1 or largest.is_fixed or not largest.call_bytes:
                return self
            cohorts[number] = largest.with_tile(smaller(largest.tile))
            load = load._replace(cohorts=cohorts)
        return load

    def difference(self, before: Load, free: float) -> str:
        """Return a sentence that says what was reduced; empty if nothing was."""
        tiles = {
            f"{count(now.tile, 'lane')} per call instead of {was.tile}"
            for was, now in zip(before.cohorts, self.cohorts, strict=True)
            if was.tile > now.tile
        }
        calls = (
            {f"{count(self.calls, 'call')} at a time instead of {before.calls}"} if self.calls < before.calls else ()
        )
        if not (changes := [*calls, *sorted(tiles)]):
            if self.bytes <= free:
                return ""
            return f"{data_size(self.bytes)} needed, but only {data_size(free)} available"
        needed = data_size(before.bytes)
        return f"{', '.join(changes)}: {needed} would be needed, but only {data_size(free)} is available"
