"""Tasks and outcomes: what the benchmark's processes send each other."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from typing import Any

FULL = "full"
TARGET = "price"


@dataclass(frozen=True)
class Task:
    """Configurations to train: the grid of `chunks`, `rates` and `stops`.

    Attributes:
        rows: Rows to use, from the start of the file.
        features: Feature columns.
        chunks: Rows of one update, or `full`.
        rates: Adam's learning rates.
        stops: Numbers of epochs, ascending.
        units: Hidden layers of a multilayer perceptron; empty for a linear model, whose weights start at 0.1.
        options: Extra words for the harness command.
        path: The CSV.
        mean: Subtracted from each column, target last, so that everyone trains on the same values.
        std: Divides each column after that.
        folder: Where the harness runs and keeps its table and store.
    """

    rows: int
    features: tuple[str, ...] = ("sqft_living",)
    chunks: tuple[int | str, ...] = (100,)
    rates: tuple[float, ...] = (0.01,)
    stops: tuple[int, ...] = (1,)
    units: tuple[int, ...] = ()
    options: tuple[str, ...] = ()
    path: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    folder: str = ""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Task:
        """Return a task read from JSON, which has lists for tuples."""
        tuples: dict[str, Any] = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**(values | tuples))

    def size(self, chunk: int | str) -> int:
        """Return the rows of one update."""
        return self.rows if chunk == FULL else min(int(chunk), self.rows)

    def updates(self, chunk: int | str) -> int:
        """Return the updates of one epoch."""
        return -(-self.rows // self.size(chunk))

    def columns_only(self) -> Task:
        """Return a task for peers that read the columns and train nothing."""
        return replace(Task(self.rows, self.features), path=self.path)

    @property
    def columns(self) -> list[str]:
        """Columns to read, target last."""
        return [*self.features, TARGET]

    @property
    def configurations(self) -> int:
        """Number of configurations."""
        return len(self.chunks) * len(self.rates) * len(self.stops)

    @property
    def configuration_rows(self) -> int:
        """Rows that all configurations train on together, over all epochs."""
        return len(self.chunks) * len(self.rates) * sum(self.stops) * self.rows

    @property
    def passes(self) -> int:
        """Epochs of the longest configuration."""
        return self.stops[-1]


@dataclass(frozen=True)
class Fit:
    """One configuration's result: intercept and slopes on scaled values, and the last epoch's mean loss."""

    chunk: int | str
    rate: float
    epochs: int
    weights: list[float] = field(default_factory=list)
    loss: float | None = None


@dataclass
class Outcome:
    """What a task took, in seconds, and its results.

    Attributes:
        rows: Rows of the task.
        startup: From the start of the process to the end of its imports, and the creation of an MLflow store.
        compile: Compilation, where it can be separated.
        read: Reading done once, before the first epoch.
        laps: Repeated measurements, each of `lap_epochs` epochs.
        lap_epochs: Epochs of one lap.
        fits: One for each configuration.
        peak_mb: Peak resident memory of the process.
        gram: Mean products of (1, features, target) over all rows; only the reference has it.
        figures: Further figures by name.
        epochs: Training seconds of each epoch, as the harness records them.
        device: Where the harness trained.
    """

    rows: int
    startup: float = 0.0
    compile: float = 0.0
    read: float = 0.0
    laps: list[float] = field(default_factory=list)
    lap_epochs: int = 1
    fits: list[Fit] = field(default_factory=list)
    peak_mb: float = 0.0
    gram: list[list[float]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    epochs: list[float] = field(default_factory=list)
    device: str = ""


def split_compilation(epochs: list[float]) -> tuple[float, list[float]]:
    """Return the compilation time and the later epochs: the first epoch compiles, so it takes longer than their median.

    Args:
        epochs: Seconds of each epoch, at least two.
    """
    first, *rest = epochs
    return max(0.0, first - statistics.median_high(rest)), rest
