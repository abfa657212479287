"""The latest and best metrics of a sweep's runs, and the weights of the best run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np

from harness.config.metrics import comparable_metric, cost, deciding_metric, sign
from harness.config.naming import REPLICATES, SPLITS
from harness.sweep.plan import Run
from harness.sweep.summary_state import RunResult
from harness.training.events import EpochEnd

_RUN_FIELDS = ("run_id", "sweeps", "status", "reason", "cost", "stopped_at", "pruned_at")


@dataclass(frozen=True)
class Rules:
    """How the best run of a sweep is chosen, which follows from all of its runs.

    Attributes:
        split: The values of `SPLITS` that a run must have for its model to be kept: those of the first run.
        has_one_loss: Whether the losses of all runs can be compared.
    """

    split: list[int | None]
    has_one_loss: bool


class Leaderboard:
    """The runs of a sweep and their metrics so far. `best` is the best finished run, with its weights."""

    def __init__(self, rules: Rules | None = None) -> None:
        """Start without runs; `rules` are those of the whole sweep, if these will be only some of its runs."""
        self._rules = rules
        self.runs: list[Run] = []
        self.best: tuple[Run, list[np.ndarray]] | None = None
        self._loss_spaces: set[tuple] = set()
        self._best_values: dict[Run, dict[str, tuple[float, int]]] = {}  # Keyed by metric: value and epoch.
        self._last: dict[Run, Mapping[str, float]] = {}
        self._tests: dict[Run, Mapping[str, float]] = {}  # Metrics on the test set.

    def add(self, runs: Sequence[Run]) -> None:
        """Add runs; runs that were already added keep their place."""
        for run in runs:
            # Losses are comparable if their kind, weights and scaling agree; otherwise only some metrics are.
            scaler = run.scaler
            space = (run.loss, run.table.weights, scaler.log_targets, scaler.target_mean, scaler.target_std)
            self._loss_spaces.add(space)
        self.runs = list(dict.fromkeys([*self.runs, *runs]))

    @property
    def rules(self) -> Rules:
        """How the best run is chosen."""
        return self._rules or Rules(_values(self.runs[0], SPLITS), len(self._loss_spaces) == 1)

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
        """Keep the weights of a finished run if it is the best so far of those with the first run's split."""
        if _values(run, SPLITS) != self.rules.split:
            return
        if self.best is None or self.score(run) < self.score(self.best[0]):
            self.best = run, weights

    def score(self, run: Run) -> float:
        """Return the value by which the best run is chosen; lower is better."""
        if self.rules.has_one_loss or run.config.objective.metric:
            return run.cost
        return cost(comparable_metric(self._last[run]), self._last[run])

    def set_test(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Set the metrics of a finished run on the test set; they are not used to choose runs."""
        self._tests[run] = metrics

    def tests_of_chosen(self, trial_seed: int | None = None) -> dict[Run, Mapping[str, float]]:
        """Return the metrics on the test set of the best setting's runs, among batch and among full-sample runs.

        If runs with `trial_seed` are trials, and some are confirmed with other seeds, only these others count.
        """
        chosen: list[Run] = []
        for is_full in (False, True):
            finished = [run for run in self.runs if run.status == "FINISHED" and run.config.is_full == is_full]
            confirmed = [run for run in finished if trial_seed is not None and run.config.seed != trial_seed]
            settings = _by_setting(confirmed or finished).values()
            chosen += min(settings, key=lambda runs: mean(map(self.score, runs)), default=[])
        return {run: self._tests[run] for run in chosen if self._tests.get(run)}

    def results(self) -> list[RunResult]:
        """Return the results of all runs, for the summary; a setting with several splits has the mean of its runs."""
        results = {run: self._result(run) for run in self.runs if run.run_id}
        for runs in _by_setting([run for run in self.runs if run.status == "FINISHED"]).values():
            if len({tuple(_values(run, SPLITS)) for run in runs}) > 1:
                first, *others = (results[run] for run in runs)
                first.score = mean(map(self.score, runs))
                # A split may lack one: a holdout whose rows all weigh 0 has no loss.
                shared = [key for key in first.metrics if all(key in results[run].metrics for run in runs)]
                first.metrics = {key: mean(results[run].metrics[key] for run in runs) for key in shared}
                first.name += f", mean of {len(runs)}"
                for other in others:
                    other.score = None
        return [*results.values()]

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
            | {
                "best": self._best_values.get(run, {}),
                "last": self._last.get(run, {}),
                "test": self._tests.get(run, {}),
            }
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
            self._last[run], self._tests[run] = values["last"], values["test"]
            if values["best"]:
                self._best_values[run] = {key: (value, epoch) for key, (value, epoch) in values["best"].items()}
            else:
                self._best_values.pop(run, None)
        by_signature = {run.signature: run for run in [*self.runs, *runs]}
        if best := by_signature.get(facts["kept"]):
            self.best = best, [arrays[str(index)] for index in range(len(arrays))]
        elif self.best and self.best[0] in runs:  # It ended after that state, and will end again.
            self.best = None

    def adopt(self, runs: Sequence[Run], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take over the state that another process has come to with `runs`, and its best weights if they are better."""
        before = self.best
        self.restore(runs, facts, arrays)
        found, self.best = self.best if facts["kept"] else None, before
        if found:
            self.keep_best(*found)


def _values(run: Run, keys: Sequence[str]) -> list[Any]:
    flat = run.config.flat()
    return [flat.get(key) for key in keys]


def _by_setting(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group runs that differ at most in seed and split."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        flat = {key: value for key, value in run.config.flat().items() if key not in REPLICATES}
        found.setdefault(json.dumps(flat), []).append(run)
    return found
