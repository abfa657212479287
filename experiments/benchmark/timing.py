"""Turns outcomes into times: medians with their range, parts scaled to the whole, and ratios."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from experiments.benchmark.cases import Case
from experiments.benchmark.process import PEERS
from experiments.benchmark.task import Outcome, Task


class Span(NamedTuple):
    """The median of repeated measurements, and their range."""

    low: float
    mid: float
    high: float

    def __str__(self) -> str:
        spread = "" if self.low == self.high else f" ({self.low:.3g} to {self.high:.3g})"
        return three_digits(self.mid) + spread


def span(values: Iterable[float]) -> Span:
    """Return the span of at least one value."""
    values = sorted(values)
    return Span(values[0], statistics.median(values), values[-1])


def total(spans: Iterable[Span]) -> Span:
    """Return the sum of spans."""
    return Span(*map(sum, zip(*spans, strict=True)))


def three_digits(value: float) -> str:
    """Format a number with three significant digits and no exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True)
class Timing:
    """The seconds that the peer `name` takes for a task; `work` is everything except start-up and compilation.

    `measured_rows` is the number of rows on which it was timed, if the times were scaled to the task; else 0.
    """

    name: str
    work: Span
    startup: Span
    compile: Span
    peak_mb: float
    measured_rows: int = 0

    @property
    def wall(self) -> Span:
        """The total time."""
        return total((self.work, self.startup, self.compile))

    def rate(self, task: Task) -> float:
        """Return configuration-rows per second of total time."""
        return task.configuration_rows / self.wall.mid


class Row(NamedTuple):
    """A measured case; peers that are missing or gave wrong results are left out."""

    case: Case
    harness: Timing
    peers: dict[str, Timing]


class Part(NamedTuple):
    """A measurement of one component."""

    what: str
    value: Span
    unit: str = "s"


def timing(name: str, task: Task, outcomes: Sequence[Outcome]) -> Timing:
    """Return how long a peer takes for a task, based on repetitions or, for a scaled peer, on the task's first rows.

    A scaled peer has one outcome per chunk size, or a single one if it updates after each row. It is assumed to read
    once, then to train all configurations one after another, for all epochs.
    """
    peak, startup = max(outcome.peak_mb for outcome in outcomes), span(outcome.startup for outcome in outcomes)
    if PEERS[name].updates is None:
        work = span(outcome.read + lap for outcome in outcomes for lap in outcome.laps)
        return Timing(name, work, startup, span(outcome.compile for outcome in outcomes), peak)
    spans = [span([outcomes[0].read * task.rows / outcomes[0].rows])]
    chosen = [outcomes[number if PEERS[name].by_chunk else 0] for number in range(len(task.chunks))]
    for outcome in chosen:
        factor = task.rows / outcome.rows * len(task.rates) * sum(task.stops) / outcome.lap_epochs
        spans.append(span(lap * factor for lap in outcome.laps))
    compiling = span([sum(outcome.compile for outcome in chosen)])
    return Timing(name, total(spans), startup, compiling, peak, min(outcome.rows for outcome in outcomes))


def ratio(above: Timing | None, below: Timing | None, *, compiling: bool = False) -> float | None:
    """Return the time of `above` divided by that of `below`, excluding start-up; None if one is missing."""
    if above is None or below is None:
        return None
    one, other = (each.work.mid + compiling * each.compile.mid for each in (above, below))
    return one / other
