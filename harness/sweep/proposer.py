"""Which configurations a sweep tries next, as lists of override words; the sweeper trains whatever is proposed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.errors import require


@dataclass(frozen=True)
class Result:
    """A proposed configuration and its result.

    Attributes:
        words: Its override words.
        objective: Its loss, lower is better; infinite if the run failed or diverged.
    """

    words: tuple[str, ...]
    objective: float


class Proposer(Protocol):
    """Proposes configurations, given the results so far."""

    def propose(self, results: Sequence[Result]) -> Sequence[Sequence[str]]:
        """Return the override words of the configurations to train next; none ends the sweep.

        Args:
            results: Of all configurations proposed so far, in order.
        """
        ...


class Grid:
    """All combinations of the words of its axes; the last axis varies fastest."""

    def __init__(self, axes: Sequence[Sequence[str]], batch: int | None = None) -> None:
        """Take the axes.

        Args:
            axes: The override words of each axis.
            batch: How many configurations to propose at once; None means all.

        Raises:
            ConfigError: `batch` is not positive.
        """
        require(batch is None or batch > 0, f"hydra.sweeper.max_batch_size must be positive, not {batch}.")
        self._jobs = [list(job) for job in itertools.product(*axes)]
        self._batch = batch or len(self._jobs)
        self._proposed = 0

    def propose(self, results: Sequence[Result]) -> Sequence[Sequence[str]]:
        """Return the next batch of the grid, whatever the results are."""
        start, self._proposed = self._proposed, self._proposed + self._batch
        return self._jobs[start : self._proposed]
