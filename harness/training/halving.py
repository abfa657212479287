"""Ends the worse lanes of a scan at rungs, so that only the better ones of each group continue (successive halving).

Source: Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.config.metrics import greater_is_better
from harness.training.events import Ending, EpochEnd
from harness.training.saved_state import array, numbers, require_names
from harness.training.stopper import Stopper

_OTHER = "patience/"
"""Prefix of the other stopper's arrays in a saved state."""


@dataclass(frozen=True)
class BracketPlan:
    """The trials to compare with each other, as plain data; trials are numbered from 0 across all groups.

    Attributes:
        metric: The metric to compare.
        eta: At each rung, the best `1/eta` of a group's trials are kept, and at least one.
        rungs: Epochs after which trials are compared, in ascending order.
        groups: The trials of each group. Trials of different groups are never compared.
        lanes: The trial of each lane.
        known: For trials that are not trained here, the metric at each rung; None from the first rung by which they
            had ended.
    """

    metric: str
    eta: int
    rungs: Sequence[int]
    groups: Sequence[Sequence[int]]
    lanes: Sequence[int]
    known: Sequence[tuple[int, Sequence[float | None]]] = ()


class Halving:
    """Ends lanes that are not among the best of their group at a rung; see `Stopper`.

    Which trials are kept depends only on the metrics of all trials at the rungs, not on which of them are trained here.
    A lane that stopped early keeps its last metric in the comparison; a diverged lane is excluded.
    """

    def __init__(self, plan: BracketPlan, other: Stopper | None = None) -> None:
        """Follow the plan; another stopper may end lanes too."""
        self._plan, self._other = plan, other
        trials = sum(map(len, plan.groups))
        self._known = dict(plan.known)
        self._alive = np.ones(trials, bool)
        self._cost = np.full(trials, np.inf)  # Lower is better.
        self._epoch = np.zeros(trials, np.int64)  # The epoch of `_cost`.
        self._stopped = np.zeros(trials, bool)
        self._sign = -1 if greater_is_better(plan.metric) else 1

    def leaving(self, ends: Sequence[EpochEnd]) -> Mapping[int, Ending]:
        """See `Stopper`."""
        stopped = self._other.leaving(ends) if self._other else {}
        for end in ends:
            trial = self._plan.lanes[end.lane]
            self._cost[trial], self._epoch[trial] = self._finite(end.value(self._plan.metric)), end.epoch
            self._stopped[trial] |= end.lane in stopped
        epoch = ends[0].epoch if ends else 0
        if epoch not in self._plan.rungs:
            return stopped
        number = list(self._plan.rungs).index(epoch)
        for trial, values in self._known.items():
            value = values[number]
            self._cost[trial], self._epoch[trial] = self._finite(value), 0 if value is None else epoch
        for group in self._plan.groups:
            self._weigh(group, epoch, max(1, len(group) // self._plan.eta ** (number + 1)))
        over = [end.lane for end in ends if not self._alive[self._plan.lanes[end.lane]]]
        return {**dict.fromkeys(over, Ending.pruned), **stopped}

    def _weigh(self, group: Sequence[int], epoch: int, keep: int) -> None:
        here = [
            trial for trial in group if self._alive[trial] and (self._epoch[trial] == epoch or self._stopped[trial])
        ]
        kept = sorted(here, key=lambda trial: (self._cost[trial], trial))[:keep]
        for trial in group:
            self._alive[trial] = trial in kept

    def _finite(self, value: float | None) -> float:
        return self._sign * value if value is not None and math.isfinite(value) else math.inf

    def state(self) -> dict[str, np.ndarray]:
        """See `Stopper`."""
        own = {"alive": self._alive, "cost": self._cost, "epoch": self._epoch, "stopped": self._stopped}
        other = self._other.state() if self._other else {}
        return {name: value.copy() for name, value in own.items()} | {f"{_OTHER}{k}": v for k, v in other.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Stopper`."""
        other = {key.removeprefix(_OTHER): value for key, value in state.items() if key.startswith(_OTHER)}
        require_names(state, ["alive", "cost", "epoch", "stopped", *(f"{_OTHER}{key}" for key in other)])
        trials = [len(self._alive)]
        self._alive, self._stopped = (array(state, name, bool, trials).copy() for name in ("alive", "stopped"))
        self._cost = array(state, "cost", np.float64, trials).copy()
        self._epoch = numbers(state, "epoch", trials, 0, 2**62).copy()
        if np.isnan(self._cost).any() or bool(other) != bool(self._other and self._other.state()):
            raise ValueError("it belongs to another search")
        if self._other:
            self._other.restore(other)
