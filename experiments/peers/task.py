"""What is asked of a peer and what comes of it, as they go from one process to another."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

FULL = "full"


@dataclass(frozen=True)
class Task:
    """Configurations to train: each chunk size with each learning rate, told of at each of `stops`.

    Attributes:
        path: The CSV.
        features: Columns.
        target: Column.
        mean: Of those, target last; subtracted first.
        std: Likewise; divided by then. With the same constants all train on the same values.
        rows: Taken from the beginning of the file.
        chunks: Rows of an update, or `full`.
        rates: Of Adam.
        stops: Epochs, ascending.
        units: Hidden layers of a multilayer perceptron; none means a linear model whose weights start at 0.1.
        folder: Where the harness keeps table and store, and works.
        device: `runtime.device` of the harness.
        repeats: Of a bare limit.
    """

    path: str
    features: tuple[str, ...]
    target: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rows: int
    chunks: tuple[int | str, ...]
    rates: tuple[float, ...] = (0.01,)
    stops: tuple[int, ...] = (1,)
    units: tuple[int, ...] = ()
    folder: str = ""
    device: str = "auto"
    repeats: int = 3

    @classmethod
    def of(cls, values: dict[str, Any]) -> Task:
        """Return the task that JSON has told of, whose tuples are lists."""
        tuples: dict[str, Any] = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**(values | tuples))

    def size(self, chunk: int | str) -> int:
        """Rows of one update."""
        return self.rows if chunk == FULL else min(int(chunk), self.rows)

    @property
    def columns(self) -> list[str]:
        """What is read, target last."""
        return [*self.features, self.target]

    @property
    def configurations(self) -> int:
        """How many there are."""
        return len(self.chunks) * len(self.rates) * len(self.stops)

    @property
    def configuration_rows(self) -> int:
        """Rows that all configurations together train on, over all epochs."""
        return len(self.chunks) * len(self.rates) * sum(self.stops) * self.rows

    @property
    def flops(self) -> float:
        """Float operations of all that: a multiplication and an addition for each weight, forward and backward."""
        widths = [len(self.features), *self.units, 1]
        weights = sum((before + 1) * after for before, after in itertools.pairwise(widths))
        return self.configuration_rows * weights * (6.0 if self.units else 4.0)

    @property
    def passes(self) -> int:
        """Epochs of the longest configuration."""
        return self.stops[-1]


@dataclass(frozen=True)
class Fit:
    """One configuration's result: intercept and slopes for scaled values, or the last epoch's mean loss."""

    chunk: int | str
    rate: float
    epochs: int
    weights: list[float] = field(default_factory=list)
    loss: float | None = None


@dataclass
class Outcome:
    """What a task took, in seconds, and what it came to.

    Attributes:
        rows: As the task's.
        startup: From the start of the process until its imports are done, and what else `begun` says.
        compile: Where it can be told apart.
        read: Once, before the first epoch.
        laps: Of `lap_epochs` epochs each.
        lap_epochs: Likewise.
        fits: One a configuration.
        peak_mb: Most resident memory of the process so far.
        amount: Bytes or float operations of a lap, for a bare limit.
        gram: Means of all products of 1, features and target, scaled, of all rows; the reference's only.
        device: In words, where it is known.
    """

    rows: int
    startup: float = 0.0
    compile: float = 0.0
    read: float = 0.0
    laps: list[float] = field(default_factory=list)
    lap_epochs: int = 1
    fits: list[Fit] = field(default_factory=list)
    peak_mb: float = 0.0
    amount: float = 0.0
    gram: list[list[float]] = field(default_factory=list)
    device: str = ""


def apart(epochs: list[float]) -> tuple[float, list[float]]:
    """Tell compiling from training where the first epoch compiles: what it took longer than the median of the rest."""
    first, *rest = epochs
    return max(0.0, first - sorted(rest)[len(rest) // 2]), rest
