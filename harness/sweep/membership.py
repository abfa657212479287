"""The sweep that runs belong to, and how its best run is chosen, for processes that train only some of its runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Rank(NamedTuple):
    """Orders settings; lower is better."""

    is_unconfirmed: bool
    is_incomplete: bool  # Whether runs of it failed or were pruned: the mean of those that survive favors it.
    score: float


@dataclass(frozen=True)
class Rules:
    """How the best run of a sweep is chosen, which follows from all of its runs.

    Attributes:
        split: The values of `SPLITS` that a run must have for its model to be kept: those of the first run.
        has_one_loss: Whether the losses of all runs can be compared.
        trial_seed: The seed of a search's trials, if some are trained again with others.
        shared: Signatures of runs whose settings have runs elsewhere, so that nothing is known of their means.
    """

    split: list[int | None]
    has_one_loss: bool
    trial_seed: int | None
    shared: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Membership:
    """The sweep that runs belong to: the id of its summary run, and how its best run is chosen."""

    sweep_id: str
    rules: Rules
