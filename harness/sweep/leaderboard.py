"""The latest and best metrics of a sweep's runs, and the weights of the best setting's first run."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np

from harness.config.metrics import comparable_metric, cost, deciding_metric, sign
from harness.config.naming import REPLICATES, SPLITS, setting_name
from harness.sweep.membership import Rank, Rules
from harness.sweep.plan import Run
from harness.sweep.summary_state import MEAN, RunResult
from harness.training.events import EpochEnd

_RUN_FIELDS = ("run_id", "sweeps", "status", "reason", "cost", "stopped_at", "pruned_at", "has_model")


class Leaderboard:
    """The runs of a sweep and their metrics so far.

    Runs that differ only in seed and split share a setting, whose score is the mean of its finished runs. If a search
    retrains its best trials with other seeds, the setting consists of those runs only, without the trial, which was
    chosen for its result; settings without such runs come last.
    """

    def __init__(self, rules: Rules | None = None, trial_seed: int | None = None) -> None:
        """Create an empty leaderboard.

        Args:
            rules: The rules of the whole sweep, if the runs are only part of it.
            trial_seed: The seed of a search's trials, if some are retrained with other seeds.
        """
        self._rules = rules
        self.runs: list[Run] = []
        self._trial_seed = rules.trial_seed if rules else trial_seed
        self._settings: dict[Run, str] = {}
        self._members: dict[str, list[Run]] = {}  # By setting.
        # Weights of the first runs of settings that may be the best. At most one of these settings has ended. If each
        # split is trained by its own scan, settings do not end before the last scan.
        self._kept: dict[Run, list[np.ndarray]] = {}
        self._leader: Run | None = None  # The best setting that has ended.
        self._loss_spaces: set[tuple] = set()
        self._best_values: dict[Run, dict[str, tuple[float, int]]] = {}  # Value and epoch by metric.
        self._last: dict[Run, Mapping[str, float]] = {}
        self._tests: dict[Run, Mapping[str, float]] = {}  # Metrics on the test set.

    def plan(self, runs: Sequence[Run]) -> None:
        """Set the order of runs, not all of which need to be added later; runs of earlier calls come first."""
        for run in runs:
            # Losses can be compared if their kind, weights and scaling agree; otherwise, only some metrics can.
            scaler = run.scaler
            space = (run.loss, run.table.weights, scaler.log_targets, scaler.target_mean, scaler.target_std)
            self._loss_spaces.add(space)
        for run in runs:
            if run not in self._settings:
                self._settings[run] = setting = _setting(run)
                self._members.setdefault(setting, []).append(run)

    def add(self, runs: Sequence[Run]) -> None:
        """Add runs; they keep their planned order, because the first run of a setting represents it."""
        self.plan(runs)
        added = {*self.runs, *runs}
        self.runs = [run for run in self._settings if run in added]

    @property
    def rules(self) -> Rules:
        """The rules by which the best run is chosen."""
        if self._rules:
            return self._rules
        return Rules(_values(next(iter(self._settings)), SPLITS), len(self._loss_spaces) == 1, self._trial_seed)

    def rules_for(self, runs: Sequence[Run]) -> Rules:
        """Return the rules for another process that trains only these runs."""
        shared = [run.signature for run in runs if not {*self._repetitions(run)} <= {*runs}]
        return replace(self.rules, shared=shared)

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
        """Keep the weights of a run that has finished, if it represents a setting that may be the best.

        A setting is represented by its first run that has the same split as the sweep's first run. Its own result does
        not matter, because the best of several seeds would just be the luckiest.
        """
        if _values(run, SPLITS) != self.rules.split:
            return
        for other in [each for each in self._kept if self._settings[each] == self._settings[run]]:
            if self._is_unconfirmed(run) or not (self._is_unconfirmed(other) or self._precedes(run, other)):
                return
            del self._kept[other]
        self._kept[run] = weights
        self.settle(run)

    def settle(self, run: Run) -> None:
        """Drop the weights of the worse setting if a run that has just ended was the last of its setting."""
        is_led = self._leader in self._kept
        for each in self._repetitions(run) if is_led else [*self._kept]:
            if each in self._kept:
                self._find_leader(each)

    def _find_leader(self, run: Run) -> None:
        """If a run's setting has ended, compare it with the leader, and drop the weights of the worse one."""
        if run.signature in self.rules.shared or not all(each.status for each in self._repetitions(run)):
            return
        if (before := self._leader) is None or before not in self._kept or before is run:
            self._leader = run
            return
        self._leader, worse = (run, before) if self.rank(run) < self.rank(before) else (before, run)
        del self._kept[worse]

    def _precedes(self, run: Run, other: Run) -> bool:
        members = self._members[self._settings[run]]
        return members.index(run) < members.index(other)

    @property
    def best(self) -> tuple[Run, list[np.ndarray]] | None:
        """The run that represents the best setting, with its weights."""
        run = min(self._kept, key=self.rank, default=None)
        return (run, self._kept[run]) if run else None

    def improves_on(self, logged: float | None, run_id: str = "") -> bool:
        """Return True if the best setting beats the one logged by an earlier call and those with reused models.

        Args:
            logged: The score, at that time, of the setting whose model that call logged.
            run_id: The run of that model. If it is one of these runs, its setting's score may have changed since then.
        """
        if not self.best:
            return False
        ranks = [self.rank(run) for run in self.runs if run.has_model]
        if logged is not None and not any(run.run_id == run_id for run in self.runs):
            ranks.append(Rank(False, False, logged))
        return self.rank(self.best[0]) < min(ranks, default=Rank(True, True, math.inf))

    def rank(self, run: Run) -> Rank:
        """Return the value by which a finished run's setting is ranked."""
        scores = [self.score(each) for each in self._repetitions(run) if each.status == "FINISHED"]
        return Rank(self._is_unconfirmed(run), self._lost(run) > 0, mean(scores) if scores else math.inf)

    def _lost(self, run: Run) -> int:
        """Return how many runs of a run's setting failed or were pruned."""
        return sum(each.status == "FAILED" or each.pruned_at is not None for each in self._repetitions(run))

    def _repetitions(self, run: Run) -> list[Run]:
        """Return the runs of a run's setting; a trial that has not been retrained is a setting of its own."""
        members = self._members[self._settings[run]]
        return [each for each in members if self._is_unconfirmed(each) == self._is_unconfirmed(run)]

    def _is_unconfirmed(self, run: Run) -> bool:
        return self._trial_seed is not None and run.config.seed == self._trial_seed

    def score(self, run: Run) -> float:
        """Return the value of a run by which settings are ranked; lower is better."""
        if self.rules.has_one_loss or run.config.objective.metric:
            return run.cost
        return cost(comparable_metric(self._last[run]), self._last[run])

    def set_test(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Set the test metrics of a finished run, which are not used to choose runs."""
        self._tests[run] = metrics

    def tests_of_chosen(self) -> dict[Run, Mapping[str, float]]:
        """Return the test metrics of the runs of the best batch setting and of the best full-sample setting."""
        chosen: list[Run] = []
        for is_full in (False, True):
            if finished := [run for run in self.runs if run.status == "FINISHED" and run.config.is_full == is_full]:
                repetitions = self._repetitions(min(finished, key=self.rank))
                chosen += [run for run in repetitions if run.status == "FINISHED"]
        return {run: self._tests[run] for run in chosen if self._tests.get(run)}

    def results(self) -> list[RunResult]:
        """Return the results of all runs, for the summary.

        The first finished run of a setting is given the mean over the setting's runs. Unconfirmed trials have no score
        if others of their kind are confirmed.
        """
        results = {run: self._result(run) for run in self.runs if run.run_id}
        finished = [run for run in self.runs if run.status == "FINISHED"]
        confirmed = {run.config.is_full for run in finished if not self._is_unconfirmed(run)}
        for run in finished:
            if self._is_unconfirmed(run) and run.config.is_full in confirmed:
                results[run].score = None
                continue
            results[run].lost = self._lost(run)
            first, *others = [each for each in self._repetitions(run) if each.status == "FINISHED"]
            if first is not run or not others:
                continue
            all_of_it, result = [results[each] for each in (first, *others)], results[first]
            result.score = self.rank(run).score
            # A split may lack a metric: a holdout whose rows all have weight 0 has no loss.
            shared = [key for key in result.metrics if all(key in each.metrics for each in all_of_it)]
            result.metrics = {key: mean(each.metrics[key] for each in all_of_it) for key in shared}
            result.name = f"{setting_name(result.name)}{MEAN}{len(all_of_it)}"
            for other in others:
                results[other].score = None
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
        kept = {run.signature: len(weights) for run, weights in self._kept.items()}
        arrays = [value for weights in self._kept.values() for value in weights]
        return {"runs": runs, "kept": kept}, {str(index): value for index, value in enumerate(arrays)}

    def restore(self, runs: Sequence[Run], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Restore the saved state of the `runs` that have one, without adding the runs."""
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
        self._kept = {run: weights for run, weights in self._kept.items() if run not in runs}
        self._kept |= kept_weights(runs, facts, arrays)
        self._leader = None

    def adopt(self, runs: Sequence[Run], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take over the state of another process that has trained `runs`, and weights that may be the best."""
        self.restore(runs, {**facts, "kept": {}}, {})
        for run, weights in kept_weights(runs, facts, arrays).items():
            self.keep_best(run, weights)
        for run in runs:
            self.settle(run)


def kept_weights(
    runs: Sequence[Run], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> dict[Run, list[np.ndarray]]:
    """Return the weights in a saved state that belong to `runs`.

    Raises:
        KeyError: An array is missing.
    """
    numbers, by_signature = itertools.count(), {run.signature: run for run in runs}
    kept = [(key, [arrays[str(next(numbers))] for _ in range(count)]) for key, count in facts["kept"].items()]
    return {by_signature[signature]: weights for signature, weights in kept if signature in by_signature}


def _values(run: Run, keys: Sequence[str]) -> list[Any]:
    flat = run.config.flat()
    return [flat.get(key) for key in keys]


def _setting(run: Run) -> str:
    """Return the settings that are common to runs that differ only in seed and split."""
    return json.dumps({key: value for key, value in run.config.flat().items() if key not in REPLICATES})
