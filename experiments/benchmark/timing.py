"""From outcomes to times: medians with their range, parts scaled to the whole, ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from experiments.benchmark.cases import Case
from experiments.benchmark.process import PEERS
from experiments.benchmark.task import Outcome, Task


@dataclass(frozen=True)
class Span:
    """The median of repeated measurements, and their range."""

    low: float
    mid: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Span:
        """Return the span of at least one value."""
        values = sorted(values)
        return cls(values[0], statistics.median(values), values[-1])

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def __mul__(self, factor: float) -> Span:
        return Span(self.low * factor, self.mid * factor, self.high * factor)

    def __str__(self) -> str:
        spread = "" if self.low == self.high else f" ({self.low:.3g} to {self.high:.3g})"
        return three_digits(self.mid) + spread


def three_digits(value: float) -> str:
    """Format a number with three significant digits and no exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True)
class Timing:
    """How long a peer takes for a task, in seconds.

    Attributes:
        name: The peer.
        work: Everything but start-up and compilation.
        startup: Imports, and the creation of an MLflow store.
        compile: Compilation.
        peak_mb: Peak memory of the process.
        measured_rows: Rows it was timed on, if they were scaled to the task's; else 0.
    """

    name: str
    work: Span
    startup: Span
    compile: Span
    peak_mb: float
    measured_rows: int = 0

    @property
    def wall(self) -> Span:
        """Everything."""
        return self.work + self.startup + self.compile

    def rate(self, task: Task) -> float:
        """Return configuration-rows per second, everything included."""
        return task.configuration_rows / self.wall.mid


@dataclass
class Row:
    """A measured case. Peers that are missing or wrong are left out."""

    case: Case
    harness: Timing
    peers: dict[str, Timing] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A measurement of one component."""

    what: str
    value: Span
    unit: str


def whole(name: str, outcomes: Sequence[Outcome]) -> Timing:
    """Return the timing of a peer that ran the whole task, once or several times."""
    return Timing(
        name,
        Span.of(outcome.read + lap for outcome in outcomes for lap in outcome.laps),
        Span.of(outcome.startup for outcome in outcomes),
        Span.of(outcome.compile for outcome in outcomes),
        max(outcome.peak_mb for outcome in outcomes),
    )


def scaled(name: str, task: Task, outcomes: Sequence[Outcome]) -> Timing:
    """Return what a peer would take for a task, one configuration after another, from its first rows.

    Args:
        name: The peer.
        task: The whole task. The peer reads once, then goes through all epochs.
        outcomes: One per chunk size, or a single one if the peer updates after each row.
    """
    work, compiling = Span(0, 0, 0), Span(0, 0, 0)
    for number in range(len(task.chunks)):
        outcome = outcomes[number if PEERS[name].by_chunk else 0]
        factor = task.rows / outcome.rows
        epoch = Span.of(lap / outcome.lap_epochs for lap in outcome.laps)
        work += epoch * (factor * len(task.rates) * sum(task.stops))
        if number == 0:
            work += Span.of([outcome.read * factor])
        compiling += Span.of([outcome.compile])
    startup, peak = Span.of(outcome.startup for outcome in outcomes), max(outcome.peak_mb for outcome in outcomes)
    return Timing(name, work, startup, compiling, peak, min(outcome.rows for outcome in outcomes))


def ratio(above: Timing | None, below: Timing | None, *, compiling: bool = False) -> float | None:
    """Return how many times as long `above` takes, without start-up; None if one is missing.

    Args:
        above: The numerator.
        below: The denominator.
        compiling: Count compilation.
    """
    if above is None or below is None:
        return None
    one, other = (each.work.mid + compiling * each.compile.mid for each in (above, below))
    return one / other
