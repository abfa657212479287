"""Decides which lanes leave a scan before their last stop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np

from harness.training.events import EpochEnd


class Stopper(Protocol):
    """Decides after each epoch; see `harness.training.trainer.Scan`."""

    def leaving(self, ends: Sequence[EpochEnd]) -> Collection[int]:
        """Return the lanes to end now, given the epoch's results of all lanes that trained in it."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return the state from which an identical stopper can continue."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from `state`."""
        ...
