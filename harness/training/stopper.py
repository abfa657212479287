"""Decides which lanes leave a scan before their last stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from harness.config.metrics import sign
from harness.training.events import Ending, EpochEnd
from harness.training.saved_state import array, numbers, require_names


class Stopper(Protocol):
    """Decides after each epoch; see `harness.training.trainer.Scan`."""

    def leaving(self, ends: Sequence[EpochEnd]) -> Mapping[int, Ending]:
        """Return the lanes to end now, with the reason, given the epoch's results of all lanes that trained in it."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return the state from which an identical stopper can continue."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from `state`; raises `ValueError` or `KeyError` if it is from a different stopper."""
        ...


@dataclass(frozen=True)
class PatienceRule:
    """Ends a lane after `patience` consecutive epochs without improving its best `metric` by more than `min_delta`."""

    metric: str
    patience: int
    min_delta: float = 0.0


class Patience:
    """Ends each lane by its own rule."""

    def __init__(self, rules: Mapping[int, PatienceRule]) -> None:
        """Apply one rule per lane; lanes without a rule are never ended."""
        self._rules = dict(sorted(rules.items()))
        self._best = dict.fromkeys(self._rules, np.inf)  # Lower is better, whatever the metric.
        self._waited = dict.fromkeys(self._rules, 0)

    def leaving(self, ends: Sequence[EpochEnd]) -> Mapping[int, Ending]:
        """See `Stopper`; metrics that are not finite do not count as improvements."""
        for end in ends:
            if (rule := self._rules.get(end.lane)) is None:
                continue
            cost = sign(rule.metric) * end.value(rule.metric)
            if cost < self._best[end.lane] - rule.min_delta:
                self._best[end.lane], self._waited[end.lane] = cost, 0
            else:
                self._waited[end.lane] += 1
        trained = {end.lane for end in ends}
        over = (lane for lane, rule in self._rules.items() if lane in trained and self._waited[lane] >= rule.patience)
        return dict.fromkeys(over, Ending.stopped)

    def state(self) -> dict[str, np.ndarray]:
        """See `Stopper`."""
        best, waited = np.array([*self._best.values()], np.float64), np.array([*self._waited.values()], np.int64)
        return {"best": best, "waited": waited}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Stopper`."""
        require_names(state, ["best", "waited"])
        lanes = len(self._rules)
        best, most = array(state, "best", np.float64, [lanes]), max(rule.patience for rule in self._rules.values())
        if np.isnan(best).any():
            raise ValueError("its best values are not numbers")
        self._best = dict(zip(self._rules, best.tolist(), strict=True))
        self._waited = dict(zip(self._rules, numbers(state, "waited", [lanes], 0, most).tolist(), strict=True))
