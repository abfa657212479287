"""Which lanes are in a tile, and where."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np

from harness.training.lane import Lane
from harness.training.saved_state import State, numbers


class Members:
    """The lanes of a tile, by index.

    Attributes:
        lanes: All lanes of its cohort, which may join it.
        length: Number of positions.
        positions: The lanes still training in the tile.
        diverged: The update after which a lane was first found to be non-finite.
    """

    def __init__(self, lanes: Mapping[int, Lane], begin: Sequence[int], length: int) -> None:
        """Begin with some of the `lanes`, in order."""
        self.lanes, self.length = lanes, length
        self._home = {lane: position for position, lane in enumerate(begin)}
        self.positions = dict(self._home)
        self.diverged: dict[int, int] = {}

    def active(self, epoch: int) -> list[int]:
        """Return the lanes that train in `epoch`."""
        return [lane for lane in self.positions if self.lanes[lane].stops[-1] >= epoch]

    def free(self, epoch: int) -> list[int]:
        """Drop the lanes that no longer train in `epoch`, and return the positions that no lane has."""
        self.positions = {lane: self.positions[lane] for lane in self.active(epoch)}
        return [position for position in range(self.length) if position not in self.positions.values()]

    def part(self, start: int, length: int) -> Members:
        """Return the members at `length` positions from `start`, renumbered from 0."""
        part = copy.copy(self)
        part.length = length
        part._home, part.positions = (
            {lane: position - start for lane, position in places.items() if start <= position < start + length}
            for places in (self._home, self.positions)
        )
        part.diverged = {lane: update for lane, update in self.diverged.items() if lane in part.positions}
        return part

    def state(self) -> dict[str, np.ndarray]:
        """Return the state for `restore`."""
        pairs = {"positions": self.positions, "diverged": self.diverged}
        return {name: np.array(list(of.items()), np.int64).reshape(-1, 2) for name, of in pairs.items()}

    def restore(self, state: State, updates: int) -> None:
        """Continue from a state that was saved after `updates`.

        Raises:
            ValueError: The state belongs to other lanes.
        """
        positions = numbers(state, "positions", [None, 2], 0, max(*self.lanes, self.length - 1)).tolist()
        diverged = dict(numbers(state, "diverged", [None, 2], 0, max(updates, *self.lanes)).tolist())
        # A lane of this tile stays where it is; others may have joined, each at its own position.
        is_possible = all(
            lane in self.lanes and position < self.length and self._home.get(lane, position) == position
            for lane, position in positions
        )
        is_possible &= all(len({*column}) == len(positions) for column in zip(*positions, strict=True))
        if not is_possible or not diverged.keys() <= self.lanes.keys():
            raise ValueError("it belongs to other lanes")
        self.positions, self.diverged = dict(positions), diverged
