"""Proposes which configurations a sweep trains next, as lists of Hydra overrides."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.errors import require


@dataclass(frozen=True)
class Result:
    """A proposed configuration and its result."""

    words: tuple[str, ...]
    objective: float  # `Run.cost` (lower is better); infinite if it failed or diverged.
    pruned_at: int | None = None  # The epoch after which a search pruned it.
    is_seeded: Callable[[], bool] = lambda: True  # Whether another seed would change the result; this may take a while.


class Proposer(Protocol):
    """Proposes configurations until there are no more."""

    def propose(self, results: Sequence[Result]) -> Sequence[Sequence[str]]:
        """Return the configurations to train next, given all results so far; an empty list ends the sweep."""
        ...


class Grid:
    """All combinations of the overrides on each axis; the last axis varies fastest."""

    def __init__(self, axes: Sequence[Sequence[str]], batch: int | None = None) -> None:
        """Propose `batch` configurations at a time; None means all at once."""
        require(batch is None or batch > 0, f"hydra.sweeper.max_batch_size must be positive, not {batch}.")
        self._jobs = [list(job) for job in itertools.product(*axes)]
        self._batch = batch or len(self._jobs)
        self._proposed = 0

    def propose(self, results: Sequence[Result]) -> Sequence[Sequence[str]]:
        """Return the next batch; a grid ignores the results."""
        start, self._proposed = self._proposed, self._proposed + self._batch
        return self._jobs[start : self._proposed]
