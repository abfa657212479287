"""How the runs of a sweep stand: what they measured last and at best, and which of them has the model to keep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.config.metrics import greater_is_better
from harness.sweep.plan import Run
from harness.sweep.summary_note import Ended
from harness.training.events import EpochEnd

_OF_A_RUN = ("run_id", "sweeps", "status", "reason", "objective")


class Leaderboard:
    """What is known of runs while they are trained; a checkpoint has it too.

    Attributes:
        runs: All that have been taken in, in order.
        kept: The best run so far of those that may keep their model, and its weights; None before there is one.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.kept: tuple[Run, list[np.ndarray]] | None = None
        self._spaces: set[tuple] = set()
        self._best: dict[Run, dict[str, tuple[float, int]]] = {}  # by metric: the value, and the epoch
        self._last: dict[Run, Mapping[str, float]] = {}

    def add(self, runs: Sequence[Run]) -> None:
        """Take runs in."""
        for run in runs:
            # Losses of one kind, in one space, can be compared; others have only the target's own units in common.
            self._spaces.add((run.config.loss, run.scaler.log_target, run.scaler.mean[-1], run.scaler.std[-1]))
        self.runs = list(dict.fromkeys([*self.runs, *runs]))

    def measure(self, run: Run, event: EpochEnd) -> Mapping[str, float]:
        """Take in what a run came to in an epoch, and return it as metrics."""
        measures = {"train/loss": event.loss, **event.metrics}
        run.objective = measures.get("val/loss", math.inf) if run.table.holdout_rows else event.loss
        self._last[run] = measures
        best = self._best.setdefault(run, {})
        for key, value in measures.items():
            sign = -1 if greater_is_better(key) else 1
            if math.isfinite(value) and (key not in best or sign * value < sign * best[key][0]):
                best[key] = value, event.epoch
        return measures

    def know(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Take in what a run that has ended came to."""
        self._last[run] = metrics

    def take_best(self, run: Run) -> Mapping[str, tuple[float, int]]:
        """Return the best value of each metric of a run that ends, and its epoch; they are not asked for again."""
        return self._best.pop(run, {})

    def offer(self, run: Run, weights: list[np.ndarray]) -> None:
        """Keep the weights of a run that has ended, if it is the best so far."""
        if self.kept is None or self.merit(run) < self.merit(self.kept[0]):
            self.kept = run, weights

    def merit(self, run: Run) -> float:
        """Return the measure by which the best run is chosen; less is better."""
        return run.objective if len(self._spaces) == 1 else self._last[run].get("val/rmse", math.inf)

    def ended(self) -> list[Ended]:
        """Return all runs as a summary tells of them."""
        return [self._ended(run) for run in self.runs]

    def _ended(self, run: Run) -> Ended:
        finished = run.status == "FINISHED"
        return Ended(
            run.run_id,
            run.name,
            "full" if run.config.is_full else "batch",
            "" if finished else run.reason or run.status.lower(),
            self.merit(run) if finished else None,
            run.objective if finished else None,
            self._last[run].get("val/rmse") if finished else None,
            run.updates,
        )

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return all of it: facts for JSON, and arrays."""
        runs = {
            run.signature: {name: getattr(run, name) for name in _OF_A_RUN}
            | {"best": self._best.get(run, {}), "last": self._last.get(run, {})}
            for run in self.runs
        }
        signature, weights = (self.kept[0].signature, self.kept[1]) if self.kept else (None, [])
        return {"runs": runs, "kept": signature}, {str(index): value for index, value in enumerate(weights)}

    def restore(self, runs: Sequence[Run], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from the state that an earlier process had, as far as it is of `runs`; they are not taken in yet."""
        for run in runs:
            if (values := facts["runs"].get(run.signature)) is None:
                continue
            for name in _OF_A_RUN:
                setattr(run, name, values[name])
            self._last[run] = values["last"]
            if values["best"]:
                self._best[run] = {key: (value, epoch) for key, (value, epoch) in values["best"].items()}
        by_signature = {run.signature: run for run in [*self.runs, *runs]}
        if kept := by_signature.get(facts["kept"]):
            self.kept = kept, [arrays[str(index)] for index in range(len(arrays))]
