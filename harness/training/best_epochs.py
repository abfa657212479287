"""Keeps the weights of each lane's best epoch, for lanes that do not keep their last epoch's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from harness.config.metrics import cost
from harness.training.events import EpochEnd, Restored
from harness.training.saved_state import State, array

_NUMBER = Annotated[float, Field(allow_inf_nan=False)]
_FACTS: TypeAdapter[Any] = TypeAdapter(dict[int, tuple[Annotated[int, Field(ge=1)], dict[str, _NUMBER]]])


@dataclass(frozen=True)
class _Best:
    restored: Restored
    weights: list[np.ndarray]


class BestEpochs:
    """The best epoch so far of the lanes that keep its weights; the first one in case of a tie."""

    def __init__(self, metrics: Mapping[int, str]) -> None:
        """Watch one metric for each of these lanes; other lanes keep the weights of their last epoch."""
        self._metrics = dict(metrics)
        self._best: dict[int, _Best] = {}

    def see(self, end: EpochEnd, weights: Callable[[], list[np.ndarray]]) -> None:
        """Keep an epoch's weights if it is the lane's best so far."""
        if (metric := self._metrics.get(end.lane)) is None:
            return
        metrics, before = {"train/loss": end.loss, **end.metrics}, self._best.get(end.lane)
        if before is None or cost(metric, metrics) < cost(metric, before.restored.metrics):
            self._best[end.lane] = _Best(Restored(end.epoch, metrics), [value.copy() for value in weights()])

    def of(self, lane: int) -> tuple[Restored, list[np.ndarray]] | None:
        """Return a lane's best epoch and its weights, or None if it keeps those of its last epoch."""
        best = self._best.get(lane)
        return (best.restored, best.weights) if best else None

    def take(self, other: BestEpochs, lane: int) -> None:
        """Take over a lane from the best epochs of another tile."""
        if best := other._best.pop(lane, None):
            self._best[lane] = best

    def part(self, lanes: Collection[int]) -> BestEpochs:
        """Return the best epochs of some of the lanes, for a part of the tile."""
        found = BestEpochs(self._metrics)
        found._best = {lane: best for lane, best in self._best.items() if lane in lanes}
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Return the state for `restore`; empty if no lane keeps its best epoch."""
        if not self._metrics:
            return {}
        facts = {lane: (best.restored.epoch, best.restored.metrics) for lane, best in self._best.items()}
        arrays = {
            f"best/{lane}/{index}": value
            for lane, best in self._best.items()
            for index, value in enumerate(best.weights)
        }
        return {"best": np.frombuffer(_FACTS.dump_json(facts), np.uint8), **arrays}

    def restore(self, state: State, shapes: list[tuple[Any, tuple[int, ...]]]) -> set[str]:
        """Continue from a state, given the types and shapes of a model's weights; return the names of its arrays.

        Raises:
            ValueError: The state belongs to other lanes.
            KeyError: An array is missing.
        """
        if not self._metrics:
            return set()
        try:
            facts = _FACTS.validate_json(array(state, "best", np.uint8, [None]).tobytes())
        except ValidationError as error:
            raise ValueError("its best epochs are invalid") from error
        if not facts.keys() <= self._metrics.keys():
            raise ValueError("its best epochs belong to other lanes")
        names = {lane: [f"best/{lane}/{index}" for index in range(len(shapes))] for lane in facts}
        self._best = {
            lane: _Best(
                Restored(epoch, metrics),
                [array(state, name, *shape) for name, shape in zip(names[lane], shapes, strict=True)],
            )
            for lane, (epoch, metrics) in facts.items()
        }
        return {"best", *(name for each in names.values() for name in each)}
