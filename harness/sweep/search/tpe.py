"""Proposes trials from the results of earlier ones, by Optuna's tree-structured Parzen estimator.

Nothing is kept between generations: a study is rebuilt from the results and a seed, so that the same results always
give the same proposals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import ConfigError
from harness.sweep.search.space import Axis, Choices, Interval

MISSING = "search=tpe needs Optuna. Install it with: pip install 'harness[tpe]'"


def version() -> str:
    """Return Optuna's version; raises `ConfigError` if it is not installed."""
    return _optuna().__version__


def propose(
    axes: Sequence[Axis], known: Sequence[tuple[Mapping[str, str], float]], count: int, seed: int
) -> list[dict[str, str]]:
    """Return the values of `count` new trials.

    Args:
        axes: The axes of the space.
        known: The values of earlier trials, and how they ended: lower is better, infinite if they failed.
        count: Number of trials.
        seed: Seed of the proposals.
    """
    optuna = quiet_optuna()
    kinds = {axis.key: distribution(optuna, axis) for axis in axes}
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=1))
    for values, cost in known:
        if math.isfinite(cost):
            params = {axis.key: number(axis, values[axis.key]) for axis in axes}
            study.add_trial(optuna.create_trial(params=params, distributions=kinds, value=cost))
    trials = [study.ask(kinds) for _ in range(count)]
    return [{axis.key: _text(axis, trial.params[axis.key]) for axis in axes} for trial in trials]


def quiet_optuna() -> Any:
    """Return Optuna, which then logs only warnings; raises `ConfigError` if it is not installed."""
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _optuna() -> Any:
    try:
        import optuna  # type: ignore[import-not-found]
    except ImportError as error:
        raise ConfigError(MISSING) from error
    return optuna


def distribution(optuna: Any, axis: Axis) -> Any:
    """Return an axis as Optuna describes it."""
    kinds = optuna.distributions
    if isinstance(axis, Choices):
        return kinds.CategoricalDistribution(axis.values)
    if axis.is_whole:
        return kinds.IntDistribution(int(axis.low), int(axis.high), log=axis.is_log)
    return kinds.FloatDistribution(axis.low, axis.high, log=axis.is_log)


def number(axis: Axis, text: str) -> Any:
    """Return a value of an axis as Optuna represents it."""
    if isinstance(axis, Choices):
        return text
    # For a key that also takes fractions, runs record whole numbers as `3.0`.
    return int(float(text)) if axis.is_whole else float(text)


def _text(axis: Axis, value: Any) -> str:
    if not isinstance(axis, Interval) or axis.is_whole:
        return str(value)
    return axis.rounded(value)
