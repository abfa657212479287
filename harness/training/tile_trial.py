"""Compares tiles by training scans that are then discarded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import NamedTuple, Protocol

from harness.training.clocks import Clocks
from harness.training.events import Event, Failed, OutOfMemory, Progress

LAP_SECONDS, WALL = 0.1, 5
"""Seconds of training in a lap, and the maximum duration of a lap as a multiple of that."""

FEW, LAPS = 2, 5
"""Number of laps after which slow tiles are dropped, and of further laps of the fastest ones."""

HOPELESS = 1.3
"""Longer or shorter tiles are not tried once updates take this many times as long as in the fastest tile so far."""

TRYING_SECONDS = 20
"""No further tile is tried after this time; on a GPU, each takes seconds to compile."""

FINALISTS = 3
"""Number of tiles, the default one among them, that take turns in training."""


class Unmeasurable(Exception):
    """The scan cannot be trained in these tiles, for example because they need too much memory."""


class Trainable(Protocol):
    """A scan."""

    clocks: Clocks

    def run(self) -> Generator[Event]:
        """Train all lanes."""
        ...


class TileTrial:
    """A scan that trains lap by lap.

    Attributes:
        laps: The measurement of each lap: seconds of training per row, multiplied by `factor`.
    """

    def __init__(self, scan: Trainable, factor: float = 1.0) -> None:
        """Compile the scan, and train on its first block; raises `Unmeasurable`."""
        self.scan, self.factor, self.laps = scan, factor, list[float]()
        self._events, self._rows, self._trained = scan.run(), 0, 0.0
        self.lap(0)
        self.laps.clear()

    def lap(self, seconds: float = LAP_SECONDS) -> None:
        """Train for about `seconds`, but on at least one block; raises `Unmeasurable`."""
        begun = time.perf_counter()
        for event in self._events:
            if isinstance(event, Failed | OutOfMemory):
                break
            trained, wall = self.scan.clocks.train - self._trained, time.perf_counter() - begun
            if isinstance(event, Progress) and event.rows > self._rows and (trained > seconds or wall > WALL * seconds):
                self.laps.append(trained / (event.rows - self._rows) * self.factor)
                self._rows, self._trained = event.rows, self.scan.clocks.train
                return
        self.close()
        raise Unmeasurable

    def close(self) -> None:
        """End the scan."""
        self._events.close()

    @property
    def fastest(self) -> float:
        """The shortest lap, which other programs disturbed least."""
        return min(self.laps)


class Comparison(NamedTuple):
    """The result of `compare`.

    Attributes:
        seconds: The shortest lap in each tile that was tried, in ascending order of tiles.
        finalists: The tiles whose laps were run in turn, and can therefore be compared; one is the default tile.
        is_cut: Whether other tiles were not tried because `TRYING_SECONDS` had passed.
    """

    seconds: Mapping[int, float]
    finalists: Collection[int]
    is_cut: bool = False


def compare(trial_of: Callable[[int], TileTrial], default: int, lengths: Sequence[int]) -> Comparison:
    """Measure the default tile, and other `lengths` as long as they are not much slower.

    Raises:
        Unmeasurable: The default tile cannot be measured.
    """
    ends = time.monotonic() + TRYING_SECONDS
    found: dict[int, float] = {}
    trials: dict[int, TileTrial] = {}

    def take_turns(tiles: Sequence[int], laps: int) -> None:
        """Train in tiles in turn, so that other programs slow all of them down alike; drop those that fail."""
        for _ in range(laps):
            for tile in [each for each in dict.fromkeys(tiles) if each in trials]:
                try:
                    trials[tile].lap()
                except Unmeasurable:
                    del trials[tile]

    def is_hopeful(tile: int) -> bool:
        """Measure a tile in turn with the fastest one so far, and keep its trial if it is one of the fastest."""
        rival = min(trials, key=found.__getitem__, default=tile)
        trials[tile] = trial_of(tile)
        take_turns([tile, rival], FEW)
        if tile not in trials:
            return False
        found[tile] = trials[tile].fastest
        latest = {each: min(trials[each].laps[-FEW:]) for each in (tile, rival) if each in trials}
        for slow in sorted(trials.keys() - {default}, key=found.__getitem__)[FINALISTS - 1 :]:
            trials.pop(slow).close()
        return latest[tile] <= HOPELESS * min(latest.values())

    try:
        is_hopeful(default)
        ascending, is_cut = sorted(lengths), False
        for direction in (
            [each for each in ascending if each > default],
            [each for each in ascending[::-1] if each < default],
        ):
            with contextlib.suppress(Unmeasurable):
                for tile in direction:
                    is_cut |= time.monotonic() > ends
                    if is_cut or not is_hopeful(tile):
                        break
        for trial in trials.values():
            trial.laps.clear()  # So that only laps from the same time are compared.
        take_turns([*trials], LAPS)
        if default not in trials:
            raise Unmeasurable
        found |= {tile: trial.fastest for tile, trial in trials.items()}
        return Comparison(dict(sorted(found.items())), [*trials], is_cut)
    finally:
        for trial in trials.values():
            trial.close()
