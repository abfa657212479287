"""The latest and best metrics of a sweep's runs, and the weights of the best run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.config.metrics import comparable_metric, cost, deciding_metric, sign
from harness.sweep.plan import Run
from harness.sweep.summary_state import RunResult
from harness.training.events import EpochEnd

_RUN_FIELDS = ("run_id", "sweeps", "status", "reason", "cost", "stopped_at", "pruned_at")


class Leaderboard:
    """The runs of a sweep and their metrics so far. `best` is the best finished run, with its weights."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.best: tuple[Run, list[np.ndarray]] | None = None
        self._loss_spaces: set[tuple] = set()
        self._best_values: dict[Run, dict[str, tuple[float, int]]] = {}  # Keyed by metric: value and epoch.
        self._last: dict[Run, Mapping[str, float]] = {}

    def add(self, runs: Sequence[Run]) -> None:
        """Add runs; runs that were already added keep their place."""
        for run in runs:
            # Losses are comparable if their kind, weights and scaling agree; otherwise only some metrics are.
            scaler = run.scaler
            space = (run.loss, run.table.weights, scaler.log_targets, scaler.target_mean, scaler.target_std)
            self._loss_spaces.add(space)
        self.runs = list(dict.fromkeys([*self.runs, *runs]))

    def update(self, run: Run, event: EpochEnd) -> Mapping[str, float]:
        """Add an epoch of a run, and return the epoch's metrics."""
        metrics = {"train/loss": event.loss, **event.metrics}
        self.set_metrics(run, metrics)
        best = self._best_values.setdefault(run, {})
        for key, value in metrics.items():
            if math.isfinite(value) and (key not in best or sign(key) * value < sign(key) * best[key][0]):
                best[key] = value, event.epoch
        return metrics

    def set_metrics(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Set a run's metrics: the latest ones, or those of the epoch whose model it keeps."""
        run.cost = run.cost_of(metrics)
        self._last[run] = metrics

    def pop_best_values(self, run: Run) -> Mapping[str, tuple[float, int]]:
        """Remove and return the best value of each metric and its epoch, for a run that has just ended."""
        return self._best_values.pop(run, {})

    def keep_best(self, run: Run, weights: list[np.ndarray]) -> None:
        """Keep the weights of a finished run if it is the best so far."""
        if self.best is None or self.score(run) < self.score(self.best[0]):
            self.best = run, weights

    def score(self, run: Run) -> float:
        """Return the value by which the best run is chosen; lower is better."""
        if len(self._loss_spaces) == 1 or run.config.objective.metric:
            return run.cost
        return cost(comparable_metric(self._last[run]), self._last[run])

    def results(self) -> list[RunResult]:
        """Return the results of all runs, for the summary."""
        return [self._result(run) for run in self.runs]

    def _result(self, run: Run) -> RunResult:
        sample = "full" if run.config.is_full else "batch"
        if run.status != "FINISHED":
            reason = "" if run.pruned_at else run.reason or run.status.lower()
            return RunResult(run.run_id, run.name, sample, reason, None, {}, run.updates)
        known = self._last[run]
        shown = dict.fromkeys(
            [deciding_metric(held_out=run.table.holdout_rows > 0), comparable_metric(known), run.metric]
        )
        metrics = {key: known[key] for key in shown if key in known}
        return RunResult(run.run_id, run.name, sample, "", self.score(run), metrics, run.updates)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the state for `restore`: JSON values and arrays."""
        runs = {
            run.signature: {name: getattr(run, name) for name in _RUN_FIELDS}
            | {"best": self._best_values.get(run, {}), "last": self._last.get(run, {})}
            for run in self.runs
        }
        signature, weights = (self.best[0].signature, self.best[1]) if self.best else (None, [])
        return {"runs": runs, "kept": signature}, {str(index): value for index, value in enumerate(weights)}

    def restore(self, runs: Sequence[Run], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Restore the saved state of those `runs` that have one, without adding them."""
        for run in runs:
            if (values := facts["runs"].get(run.signature)) is None:
                continue
            for name in _RUN_FIELDS:
                setattr(run, name, values[name])
            self._last[run] = values["last"]
            if values["best"]:
                self._best_values[run] = {key: (value, epoch) for key, (value, epoch) in values["best"].items()}
            else:
                self._best_values.pop(run, None)
        by_signature = {run.signature: run for run in [*self.runs, *runs]}
        if best := by_signature.get(facts["kept"]):
            self.best = best, [arrays[str(index)] for index in range(len(arrays))]
        elif self.best and self.best[0] in runs:  # It ended after that state, and will end again.
            self.best = None
