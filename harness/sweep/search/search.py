"""A search: its trials, the comparisons between them, and the confirmation of the best."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.config.search import Sampler, SearchConfig
from harness.errors import require
from harness.formatting import count
from harness.sweep.proposer import Result
from harness.sweep.search import tpe
from harness.sweep.search.sobol import sobol
from harness.sweep.search.space import Choices, Space
from harness.sweep.search.time_budget import TimeBudget

VERSION = 2
"""Increment this whenever the same settings would give different trials."""

TRIALS = 27
"""Default number of trials per choice: enough for three rungs that each keep one trial in three."""


MOST_TRIALS = 10**5

GENERATIONS = 4
"""Number of generations of `search=tpe` or, with a time budget, per 27 trials; each generation is a scan."""

Known = list[tuple[dict[str, str], float]]
"""Values of a trial's keys, and its deciding metric, signed so that lower is better."""


@dataclass(frozen=True)
class Bracket:
    """The positions of jobs that are compared with each other at the same rungs, among those proposed together."""

    eta: int
    rungs: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]


@dataclass
class Search:
    """Proposes the trials of a search, then the runs that confirm the best of them.

    Attributes:
        space: The searched keys and their values.
        settings: The search's configuration.
        epochs: Epochs of a trial that is trained to completion; the maximum if `epochs` is searched.
        seed: The seed of the trials.
        groups: For each choice, the positions of its trials among all proposed jobs.
        bracket: How the last proposed jobs are compared; None if all of them are trained to completion.
        known: Other runs from which `tpe` learns.
        budget: Decides the number of generations, if it depends on the time.
    """

    space: Space
    settings: SearchConfig
    epochs: int
    seed: int
    bracket: Bracket | None = None
    groups: list[list[int]] = field(default_factory=list)
    known: Known = field(default_factory=list)
    budget: TimeBudget | None = None
    _jobs: list[list[str]] = field(default_factory=list)
    _generations: int = 0
    _is_confirmed: bool = False

    def __post_init__(self) -> None:
        if self.settings.minutes is not None:
            self.budget = TimeBudget(self.settings.minutes)
        halves = self.settings.name is Sampler.halving
        for key in ("epochs", *(axis.key for axis in self.space.axes if axis.key.startswith("data."))):
            axis = self.space.of(key)
            many = axis in self.space.searched(())
            reason = "itself decides how long trials train" if key == "epochs" else "compares runs on the same data"
            require(not (halves and many), f"{key}={axis}: search=halving {reason}. Use search=sobol to search {key}.")
        is_free = self.space.of("seed") not in self.space.searched(()) or self.settings.confirm is None
        require(
            is_free, "search.confirm trains with other seeds: set seed to a single value, or set search.confirm=null."
        )
        size = self.trials_each
        required = 1 if self.settings.trials is None else self.settings.trials
        require(
            size > 0,
            f"search.trials={required} is less than one trial for each of {count(len(self.choices), 'choice')} of "
            f"{', '.join(self.each)}."
            if self.settings.lane_epochs is None
            else f"search.lane_epochs={self.settings.lane_epochs} is not enough for one trial for each of "
            f"{count(len(self.choices), 'choice')}; {self._cost(1) * len(self.choices)} would be.",
        )
        too_long = [rung for rung in self.settings.rungs or [] if rung > self.epochs]
        excess = ", ".join(map(str, too_long))
        require(not too_long, f"search.rungs must not exceed epochs={self.epochs}; too large: {excess}.")

    @cached_property
    def each(self) -> list[str]:
        """The keys whose choices get their own trials."""
        given = self.settings.each
        keys = [given] if isinstance(given, str) else list(given)
        listed = [key for key in keys if isinstance(self.space.of(key), Choices)]
        lost = [key for key in keys if key not in listed and given != "chunksize"]
        require(
            not lost, f"search.each: {', '.join(lost)} has no list of choices in this sweep. Set one, such as KEY=1,2."
        )
        return listed

    @cached_property
    def choices(self) -> list[dict[str, str]]:
        """All combinations of the choices of `each`."""
        axes = [axis for axis in self.space.axes if axis.key in self.each and isinstance(axis, Choices)]
        return [
            dict(zip((axis.key for axis in axes), values, strict=True))
            for values in itertools.product(*(axis.values for axis in axes))
        ]

    @cached_property
    def trials_each(self) -> int:
        """Maximum number of trials for each choice."""
        settings, choices = self.settings, len(self.choices)
        most = math.inf if settings.trials is None else settings.trials // choices
        if settings.lane_epochs is not None:
            # More trials may cost less, since they may have an earlier rung; each takes at least an epoch.
            most = int(min(most, settings.lane_epochs // choices, MOST_TRIALS))
            return next((n for n in range(most, 0, -1) if self._cost(n) * choices <= settings.lane_epochs), 0)
        if settings.trials is None:
            return TRIALS if settings.minutes is None else MOST_TRIALS
        return int(most)

    @property
    def generation(self) -> int:
        """Maximum number of trials that each choice gets at once."""
        size = self.trials_each if self.settings.minutes is None else min(self.trials_each, TRIALS)
        return -(-size // GENERATIONS) if self.settings.name is Sampler.tpe else size

    @property
    def _planned(self) -> int:
        """Number of trials per choice that are known in advance: all of them or, with a time budget, one generation."""
        return self.generation if self.budget else self.trials_each

    def rungs(self, trials: int) -> tuple[int, ...]:
        """Return the epochs after which `trials` trials of a group are compared."""
        settings = self.settings
        if settings.name is not Sampler.halving:
            return ()
        if settings.rungs is not None:
            return tuple(rung for rung in settings.rungs if rung < self.epochs)
        found, rung, left = [], self.epochs // settings.eta, trials
        while rung >= 1 and left >= settings.eta:
            found.insert(0, rung)
            rung, left = rung // settings.eta, left // settings.eta
        return tuple(found)

    def lanes_by_rung(self, trials: int) -> list[tuple[int, int]]:
        """Return how many of a group's trials train to each rung and to completion, as pairs of count and epoch."""
        found, lanes = [], trials
        for number, rung in enumerate(self.rungs(trials), 1):
            found.append((lanes, rung))
            lanes = max(1, trials // self.settings.eta**number)
        return [*found, (lanes, self.epochs)]

    def _cost(self, trials: int) -> int:
        """Return the epochs of all trials of a group."""
        steps = self.lanes_by_rung(trials)
        starts = [0, *(epoch for _, epoch in steps)]
        return sum(lanes * (epoch - start) for (lanes, epoch), start in zip(steps, starts, strict=False))

    @property
    def lane_epochs(self) -> int:
        """Maximum total number of epochs of all trials or, with a time budget, of one generation."""
        return self._cost(self._planned) * len(self.choices)

    @property
    def trial_seed(self) -> int | None:
        """The seed of the trials, if the best of them are retrained with other seeds."""
        return self.seed if self.settings.confirm else None

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that the trials depend on, apart from the runs' own settings."""
        settings = self.settings
        return {
            "version": VERSION,
            "space": str(self.space),
            "search": settings.name.value,
            "each": self.each,
            "trials_each": self.trials_each,
            "eta": settings.eta,
            "rungs": list(self.rungs(self._planned)),
            "epochs": self.epochs,
            "seed": settings.seed,
            "confirm": settings.confirm,
            **({} if settings.minutes is None else {"minutes": settings.minutes}),
            **({} if settings.prior is None else {"prior": settings.prior.value}),
            **({"optuna": tpe.version()} if settings.name is Sampler.tpe else {}),
        }

    @property
    def _for_each(self) -> str:
        choices = len(self.choices)
        return f" for each of {choices} choices of {', '.join(self.each)}" if choices > 1 else ""

    @property
    def effort(self) -> str:
        """The cost of the search, as text."""
        if self.budget:
            done = len(self.groups[0]) if self.groups else 0
            trials = count(done, "trial") if done else f"{count(self.generation, 'trial')} at a time"
            return f"{self.settings.name.value}, {trials}{self._for_each}, at most {self.settings.minutes:g} minutes"
        trials = f"{self.settings.name.value}, {count(self.trials_each, 'trial')}{self._for_each}"
        return f"{trials}, at most {self.lane_epochs:,} epochs in all"

    def describe(self, unseeded: str = "") -> list[str]:
        """Describe the trials, the rungs and the confirmation; `unseeded` says why there is no confirmation."""
        size, choices, each = self._planned, len(self.choices), self._for_each
        at_most = "at most " if self.space.of("epochs") in self.space.searched(()) else ""
        steps = [f"{count(lanes, 'trial')} to epoch {epoch}" for lanes, epoch in self.lanes_by_rung(size)]
        steps = [f"{count(size, 'trial')} of {at_most}{count(self.epochs, 'epoch')}"] if at_most else steps
        lines = [
            f"search: {self.effort}",
            f"        {', '.join(steps)}{each}",
        ]
        if unseeded:
            lines.append(f"        {unseeded}")
        elif self.settings.confirm:
            top, seeds = self.settings.confirm["top"], self.settings.confirm["seeds"]
            best = "the best" if top == 1 else f"the best {top}"
            runs = f"{count(top * seeds * choices, 'run')} of {at_most}{count(self.epochs, 'epoch')}"
            lines.append(f"        then {best}{each} again with {count(seeds, 'other seed')}: {runs}")
        return lines

    def propose(self, results: Sequence[Result]) -> Sequence[Sequence[str]]:
        """Return the trials, then the runs that confirm the best of them; see `Proposer`."""
        self.bracket = None
        proposed = len(self.groups[0]) if self.groups else 0
        has_time = not (self.budget and proposed) or self.budget.goes_on(self._generations)
        if proposed < self.trials_each and has_time:
            self._generations += 1
            return self._trials(results, proposed)
        is_due = self.settings.confirm is not None and not self._is_confirmed
        self._is_confirmed = True
        return self._confirmations(results) if is_due else []

    def _trials(self, results: Sequence[Result], proposed: int) -> list[list[str]]:
        """Return a generation of trials, with the same number for each choice."""
        axes, size = self.space.searched(self.each), min(self.generation, self.trials_each - proposed)
        self.groups = self.groups or [[] for _ in self.choices]
        constants = {axis.key: axis.value(0) for axis in self.space.axes}
        jobs: list[list[str]] = []
        for number, (choice, group) in enumerate(zip(self.choices, self.groups, strict=True)):
            if proposed and self.settings.name is Sampler.tpe:
                known = [(_values(results[position].words), results[position].objective) for position in group]
                known += [run for run in self.known if _agree(choice, run[0])]
                draw = zlib.crc32(f"{self.settings.seed} {proposed} {number}".encode())
                trials = tpe.propose(axes, known, size, draw)
            else:
                points = sobol(len(axes), proposed + size, self.settings.seed)[proposed:]
                trials = [{axis.key: axis.value(x) for axis, x in zip(axes, at, strict=True)} for at in points]
            start = len(results) + len(jobs)
            group += range(start, start + size)
            jobs += [self.space.words(constants | choice | trial) for trial in trials]
        if rungs := self.rungs(size):
            groups = tuple(tuple(range(number * size, (number + 1) * size)) for number in range(len(self.choices)))
            self.bracket = Bracket(self.settings.eta, rungs, groups)
        self._jobs[len(results) :] = jobs
        return jobs

    def values_of(self, position: int) -> dict[str, str]:
        """Return the values of a trial, given its position among all proposed jobs."""
        return _values(self._jobs[position])

    def _confirmations(self, results: Sequence[Result]) -> list[list[str]]:
        assert self.settings.confirm
        jobs: list[list[str]] = []
        for group in self.groups:
            done = [results[position] for position in group if math.isfinite(results[position].objective)]
            distinct = {result.words: result for result in done if not result.pruned_at}
            ranked = sorted(distinct.values(), key=lambda result: result.objective)
            seeded = (result for result in ranked if result.is_seeded())
            for result in itertools.islice(seeded, self.settings.confirm["top"]):
                words = [word for word in result.words if not word.startswith("seed=")]
                jobs += [[*words, f"seed={self.seed + 1 + number}"] for number in range(self.settings.confirm["seeds"])]
        return jobs


def _agree(choice: Mapping[str, str], values: Mapping[str, str]) -> bool:
    """Return True if `values`, without constants, could belong to a trial of a choice."""
    return all(values.get(key, value) == value for key, value in choice.items())


def _values(words: Sequence[str]) -> dict[str, str]:
    return dict(tuple(word.split("=", 1)) for word in words)  # type: ignore[misc]
