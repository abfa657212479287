"""Determines which runs of a batch a search compares with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.errors import require
from harness.sweep.plan import Group, Run
from harness.sweep.search.search import Search
from harness.training.halving import BracketPlan


@dataclass(frozen=True)
class RunBracket:
    """Runs that are compared with each other at the same rungs, by group; see `harness.training.halving`.

    Attributes:
        known: The deciding metric at each rung, for runs that are not trained again.
    """

    eta: int
    rungs: tuple[int, ...]
    groups: list[list[Run]]
    known: Mapping[Run, Sequence[float | None]] = field(default_factory=dict)

    @property
    def runs(self) -> list[Run]:
        """All runs, in the order of their numbers."""
        return [run for group in self.groups for run in group]


def bracket_of(runs: Sequence[Run], search: Search | None) -> RunBracket | None:
    """Return which of `runs`, in the order in which a search has proposed them, are compared with each other.

    Raises:
        ConfigError: Their losses cannot be compared.
    """
    if not search:
        return None
    losses = sorted({run.config.loss.value for run in runs})
    comparable = len(losses) == 1 or runs[0].config.objective.metric is not None
    require(comparable, f"loss={','.join(losses)}: losses cannot be compared. Set objective.metric for the search.")
    if not (bracket := search.bracket):
        return None
    # Runs of an earlier generation are not compared again.
    new = [[runs[position] for position in group if not runs[position].status] for group in bracket.groups]
    groups = [list(dict.fromkeys(group)) for group in new]
    return RunBracket(bracket.eta, bracket.rungs, groups)


def with_bracket(groups: list[Group], bracket: RunBracket | None) -> list[Group]:
    """Make the scan that trains the runs of a bracket, which includes all runs of `groups`, prune the worse ones."""
    if not bracket or not groups:
        return groups
    require(len(groups) == 1, "search=halving compares runs that share a scan; these runs have different data.")
    (group,) = groups
    return [replace(group, plan=replace(group.plan, bracket=_bracket_plan(group.lanes, bracket)))]


def _bracket_plan(lanes: Sequence[Sequence[Run]], bracket: RunBracket) -> BracketPlan:
    numbers = {run: number for number, run in enumerate(bracket.runs)}
    return BracketPlan(
        metric=lanes[0][0].metric,
        eta=bracket.eta,
        rungs=list(bracket.rungs),
        groups=[[numbers[run] for run in group] for group in bracket.groups],
        lanes=[numbers[runs[0]] for runs in lanes],
        known=[(numbers[run], list(values)) for run, values in bracket.known.items()],
    )
