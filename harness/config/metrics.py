"""Names and directions of the metrics that a run records each epoch; `harness.training.objective` computes them.

A metric is named `PART/KIND`, or `PART/KIND/TARGET` if there are several targets.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from harness.config.keys import key_of
from harness.config.objective import Loss

REGRESSION = ("val/rmse", "val/mae", "val/r2")
BINARY = ("val/accuracy", "val/auc")
CLASSES = ("val/accuracy", "val/balanced_accuracy", "val/macro_f1")
TOP5 = "val/top5_accuracy"
TOP5_CLASSES = 6
"""Minimum number of classes for top-5 accuracy."""

VAL, TEST = "val/", "test/"
"""Prefixes of metrics on the holdout and on the test set."""

BY_UPDATE = "by_update/"
"""Prefix of the metrics whose step is the number of updates instead of the epoch."""

_BEST = "best"

RESTORED = "restored/"
"""Prefix of the metrics of the epoch whose model a run kept, for runs that need not keep the last one."""

_KINDS = ("loss", "rmse", "mae", "r2", "accuracy", "auc", "balanced_accuracy", "macro_f1", "top5_accuracy")
"""In the order in which tables show them."""
_GREATER_IS_BETTER = frozenset(_KINDS[3:])


def regression_metrics(targets: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics of numeric targets: those of a single target, or those of each target and the mean R²."""
    if len(targets) == 1:
        return REGRESSION
    each = (f"{metric}/{key_of(name, reserved='/')}" for name in targets for metric in REGRESSION)
    return (*each, "val/r2")


def class_metrics(classes: int) -> tuple[str, ...]:
    """Return the metrics for a label with this many classes."""
    return (*CLASSES, TOP5) if classes >= TOP5_CLASSES else CLASSES


def epoch_metrics(keys: Iterable[str]) -> list[str]:
    """Return the `keys` that are recorded every epoch and measure a run's quality, most important first."""
    found = [key for key in keys if key == "train/loss" or (key.startswith("val/") and _kind(key) in _KINDS)]
    return sorted(found, key=lambda key: (key != "train/loss", _KINDS.index(_kind(key))))


def test_metrics(keys: Iterable[str]) -> list[str]:
    """Return the `keys` that measure a run's quality on the test set, most important first."""
    found = epoch_metrics(key.replace(TEST, VAL, 1) for key in keys if key.startswith(TEST))
    return [key.replace(VAL, TEST, 1) for key in found]


def predicts_probability(loss: Loss | str) -> bool:
    """Return True if a model trained with `loss` predicts the probability of label 1."""
    return str(getattr(loss, "value", loss)) == Loss.binary_crossentropy.value


def deciding_metric(chosen: str | None = None, *, held_out: bool) -> str:
    """Return the deciding metric; `chosen` is the configured one."""
    return chosen or ("val/loss" if held_out else "train/loss")


def final_values(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a run's recorded metrics, with those of the restored epoch in place of the last epoch's."""
    found = {key: value for key, value in metrics.items() if not key.startswith(RESTORED)}
    return found | {key.removeprefix(RESTORED): value for key, value in metrics.items() if key.startswith(RESTORED)}


def best_key(metric: str) -> str:
    """Return the name of a metric's best value, such as `val/best/loss`.

    On a run's page, MLflow shows a section of charts for each prefix, in alphabetical order. With this name, single
    values come after the curves.
    """
    part, _, kind = metric.partition("/")
    return f"{part}/{_BEST}/{kind}"


def is_best_value(key: str) -> bool:
    """Return True if `key` names a best value, derived from a curve; earlier versions named it `best/METRIC`."""
    return key.startswith(f"{_BEST}/") or _kind(key) == _BEST


def greater_is_better(metric: str) -> bool:
    """Return True if larger values of `metric` are better."""
    return _kind(metric) in _GREATER_IS_BETTER


def sign(metric: str) -> int:
    """Return 1 if smaller values of `metric` are better, else -1."""
    return -1 if greater_is_better(metric) else 1


def cost(metric: str, metrics: Mapping[str, float]) -> float:
    """Return the value of a metric, signed so that lower is better; infinite if it is missing."""
    return sign(metric) * metrics[metric] if metric in metrics else math.inf


def comparable_metric(keys: Collection[str]) -> str:
    """Return the metric among `keys` to compare where losses cannot be compared; by default the root mean square error.

    Different targets may have different units, so only their mean R² can be compared.
    """
    return next((metric for metric in ("val/rmse", "val/r2", "val/accuracy") if metric in keys), "val/rmse")


def _kind(metric: str) -> str:
    return metric.split("/")[1] if "/" in metric else metric
