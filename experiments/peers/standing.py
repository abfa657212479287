"""From what was measured to how all stand: medians, what a part stands for, ratios, goals. Pure arithmetic."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from experiments.peers.process import PEERS
from experiments.peers.task import Fit, Outcome, Task

TOLERANCE = 1e-3
"""Of a weight for scaled values, against the float64 reference."""
MARGIN = 1.05
"""Times the least possible loss, for those without Adam."""


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
        return (
            seconds(self.mid) if self.low == self.high else f"{seconds(self.mid)} ({self.low:.3g} to {self.high:.3g})"
        )


def seconds(value: float) -> str:
    """Write a number with three digits that count, without an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


@dataclass(frozen=True)
class Standing:
    """How long a peer takes for a task.

    Attributes:
        name: The peer's.
        work: All but start-up and compilation, in seconds.
        startup: Seconds.
        compile: Seconds.
        peak_mb: Of the process.
        measured_rows: Where it was timed on fewer than the task's and scaled; else 0.
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
        """Configuration-rows a second, everything included."""
        return task.configuration_rows / self.wall.mid


def whole(name: str, outcomes: Sequence[Outcome]) -> Standing:
    """Return the standing of a peer that has done the task itself, once or several times."""
    return Standing(
        name,
        Span.of(outcome.read + lap for outcome in outcomes for lap in outcome.laps),
        Span.of(outcome.startup for outcome in outcomes),
        Span.of(outcome.compile for outcome in outcomes),
        max(outcome.peak_mb for outcome in outcomes),
    )


def scaled(name: str, task: Task, parts: Mapping[int | str, Sequence[Outcome]]) -> Standing:
    """Return what a peer would take for a task, one configuration after another, from parts of it.

    Args:
        name: The peer's.
        task: The whole.
        parts: By chunk, what it took for its first rows. It reads once, and then goes through all epochs.
    """
    work, compiling = Span(0, 0, 0), Span(0, 0, 0)
    for number, chunk in enumerate(task.chunks):
        # One that updates after each row has been timed once, for all chunks.
        outcomes = parts[chunk] if PEERS[name].chunks else next(iter(parts.values()))
        more = task.rows / outcomes[0].rows
        epoch = Span.of(lap / outcome.lap_epochs for outcome in outcomes for lap in outcome.laps)
        work += epoch * (more * len(task.rates) * sum(task.stops))
        if number == 0:
            work += Span.of(outcome.read for outcome in outcomes) * more
        compiling += Span.of(outcome.compile for outcome in outcomes)
    every = [outcome for outcomes in parts.values() for outcome in outcomes]
    return Standing(
        name,
        work,
        Span.of(outcome.startup for outcome in every),
        compiling,
        max(outcome.peak_mb for outcome in every),
        min(outcome.rows for outcome in every),
    )


@dataclass(frozen=True)
class Limits:
    """What the machine can do, in seconds and amounts a second; what could not be measured is left out.

    Attributes:
        parse: By reader, seconds to parse the columns.
        rates: `table` and `copy` in bytes a second, `matmul` in float operations a second.
    """

    parse: Mapping[str, Span] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)

    def least(self, task: Task) -> dict[str, float]:
        """Return the least seconds that each limit leaves for a task, by its name."""
        read = task.passes * task.rows * len(task.columns) * 4
        found = {name: span.mid for name, span in self.parse.items()}
        amounts = {"table": read, "copy": 2 * read, "matmul": task.flops}
        return found | {name: amounts[name] / rate for name, rate in self.rates.items()}


@dataclass(frozen=True)
class Goal:
    """A figure that is wanted.

    Attributes:
        what: In words.
        wanted: The figure.
        measured: None where it was not.
        at_least: Whether more is better.
    """

    what: str
    wanted: float
    measured: float | None
    at_least: bool = True

    @property
    def reached(self) -> bool | None:
        """Whether it is; None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    @property
    def cells(self) -> list[str]:
        """What a table says of it."""
        measured = "-" if self.measured is None else seconds(self.measured)
        verdict = {True: "reached", False: "not reached", None: "not measured"}[self.reached]
        return [self.what, f"{'at least' if self.at_least else 'at most'} {seconds(self.wanted)}", measured, verdict]


def ratio(above: Standing | None, below: Standing | None, *, compiling: bool = False) -> float | None:
    """Return how many times as long one takes as another; None if one is missing.

    Args:
        above: The one.
        below: The other.
        compiling: Whether the time for compilation counts; that for start-up does not.
    """
    if above is None or below is None:
        return None
    one, other = (each.work.mid + compiling * each.compile.mid for each in (above, below))
    return one / other


def fault(name: str, task: Task, outcome: Outcome, reference: Outcome) -> str:
    """Return what is wrong with a result; empty if nothing is.

    Args:
        name: The peer's.
        task: What it was to do.
        outcome: What it came to.
        reference: That of the same rows; of its fits, those of the same configurations are compared.
    """
    gram = np.array(reference.gram)
    inputs, target = gram[:-1, :-1], gram[:-1, -1]
    best = float(gram[-1, -1] - target @ np.linalg.solve(inputs, target))
    expected = {(fit.chunk, fit.rate, fit.epochs): fit.weights for fit in reference.fits}
    if not outcome.fits:
        return f"{PEERS[name].label} told of no result"
    for fit in outcome.fits:
        where = f"{PEERS[name].label}, chunk {fit.chunk}, rate {fit.rate:g}, {fit.epochs} epochs"
        if task.units:
            if fit.loss is None or not fit.loss < best:
                return f"{where}: a loss of {fit.loss}, no less than a line's, {best:.4g}"
        elif not PEERS[name].adam:
            if not _loss(gram, fit) <= MARGIN * best:
                return f"{where}: a loss of {_loss(gram, fit):.4g}, where {best:.4g} is the least"
        elif key := next((key for key in expected if _same(key, fit)), None):
            off = float(np.max(np.abs(np.array(fit.weights) - expected[key])))
            if not off <= TOLERANCE:
                return f"{where}: a weight is {off:.2g} away from the reference's"
    return ""


def _same(key: tuple, fit: Fit) -> bool:
    return key[0] == fit.chunk and key[2] == fit.epochs and abs(key[1] - fit.rate) <= 1e-6 * fit.rate


def _loss(gram: np.ndarray, fit: Fit) -> float:
    """Return the mean squared error of a line over all rows."""
    vector = np.array([*fit.weights, -1.0])
    return float(vector @ gram @ vector)
