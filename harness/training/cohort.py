"""Lanes that share compiled loops."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from harness.training.call_memory import CallMemory
from harness.training.strategy import Strategy
from harness.training.tile_length import smaller
from harness.training.update_memory import UpdateMemory


class TileOptions(NamedTuple):
    """The tiles among which `harness tune` can choose.

    Attributes:
        kind: What the time of an update depends on, except the device, as JSON.
        default: The tile that is used if none was measured.
        longest: The longest tile that fits into memory.
        shares_scan: Whether other cohorts use the cores that this one leaves idle.
    """

    kind: str
    default: int
    longest: int
    shares_scan: bool


UNKNOWN = TileOptions("", 0, 0, False)


@dataclass(frozen=True)
class Cohort:
    """Lanes that share compiled loops.

    Attributes:
        lanes: Lanes by index.
        tile: Lanes updated by one call.
        strategy: How their updates are compiled and divided into slices.
        memory: The memory that an update of one lane needs in a plain implementation.
        batch_layers: Layers that normalize over a whole chunk, which is then never divided into slices.
        step_rows: Rows that are computed at once; 0 if updates are computed from Gram matrices.
        call: An estimate of the memory that calls need.
        is_fixed: Whether the user has chosen `tile`.
        is_measured: Whether `harness tune` has chosen `tile`.
        options: The tiles to choose from.
        earlier: If tiles ran out of memory, their earlier lengths, and the update after which each was given up.
    """

    lanes: list[int]
    tile: int
    strategy: Strategy
    memory: UpdateMemory
    batch_layers: list[str]
    step_rows: int
    call: CallMemory
    is_fixed: bool = False
    is_measured: bool = False
    options: TileOptions = UNKNOWN
    earlier: tuple[tuple[int, int], ...] = ()

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return -(-len(self.lanes) // self.tile)

    @property
    def tile_history(self) -> str:
        """The lengths of the tiles that have made updates, for example `8, then 4`."""
        used, since = [], 0
        for length, until in self.earlier:
            used += [length] if until > since else []
            since = until
        return ", then ".join(map(str, [*used, self.tile]))

    @property
    def state_bytes(self) -> float:
        """Bytes that a tile needs between calls."""
        return self.tile * self.call.state_bytes

    @property
    def call_bytes(self) -> float:
        """Bytes that a call needs in addition."""
        return self.call.of_call(self.tile, self.step_rows, self.strategy.evaluated_rows)

    def with_tile(self, tile: int) -> Cohort:
        """Return the cohort with other tiles."""
        return self if tile == self.tile else replace(self, tile=tile, is_measured=False)

    def shrunk(self, updates: int) -> Cohort:
        """Return the cohort with smaller tiles after a number of updates."""
        return replace(self.with_tile(smaller(self.tile)), earlier=(*self.earlier, (self.tile, updates)))
