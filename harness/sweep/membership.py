"""The sweep that runs belong to, and the rules for its best run, for processes that train only some of its runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Rank(NamedTuple):
    """Orders settings; lower is better."""

    is_unconfirmed: bool
    is_incomplete: bool  # Whether some of its runs failed or were pruned: the mean over the others favors it.
    score: float


@dataclass(frozen=True)
class Rules:
    """How the best run of a sweep is chosen, as determined by all of its runs.

    Attributes:
        split: The values of `SPLITS` of the first run; a run needs the same values for its model to be kept.
        has_one_loss: Whether the losses of all runs can be compared.
        trial_seed: The seed of a search's trials, if some are trained again with others.
        shared: Signatures of runs whose settings have runs elsewhere, so that their means are unknown.
    """

    split: list[int | None]
    has_one_loss: bool
    trial_seed: int | None
    shared: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Membership:
    """The sweep that runs belong to: the id of its summary run, and the rules for its best run."""

    sweep_id: str
    rules: Rules
