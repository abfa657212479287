"""Which configurations a sweep tries next, as lists of override words; the sweeper trains whatever is proposed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from harness.errors import ConfigError, require


@dataclass(frozen=True)
class Result:
    """What a proposed configuration came to.

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
    """All combinations of choices, ranges and globs, the last axis fastest."""

    def __init__(self, words: Sequence[str], loader: ConfigLoader | None = None, batch: int | None = None) -> None:
        """Parse the axes.

        Args:
            words: Override words; a later one replaces an earlier one with the same key.
            loader: Hydra's loader, which knows the options that a glob stands for.
            batch: How many configurations to propose at once; None means all.

        Raises:
            ConfigError: A word is not an axis of a grid, or `batch` is not positive.
        """
        require(batch is None or batch > 0, f"hydra.sweeper.max_batch_size must be positive, not {batch}.")
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
        axes = {override.get_key_element(): _values(override) for override in overrides}
        values = ([f"{key}={value}" for value in values] for key, values in axes.items())
        self._jobs = [list(job) for job in itertools.product(*values)]
        self._batch = batch or len(self._jobs)
        self._proposed = 0

    def propose(self, results: Sequence[Result]) -> Sequence[Sequence[str]]:
        """Return the next batch of the grid, whatever the results are."""
        start, self._proposed = self._proposed, self._proposed + self._batch
        return self._jobs[start : self._proposed]


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        raise ConfigError(f"{override.input_line}: a grid takes choices or a range, such as 0.01,0.1 or range(1,4).")
    return list(override.sweep_string_iterator())
