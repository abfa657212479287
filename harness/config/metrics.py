"""Names and directions of the metrics that a run records each epoch; `harness.training.objective` computes them."""

from __future__ import annotations

from collections.abc import Mapping

from harness.config.schema import Loss

REGRESSION = ("val/rmse", "val/mae", "val/r2")
BINARY = ("val/accuracy", "val/auc")
EPOCH_METRICS = ("train/loss", "val/loss", *REGRESSION, *BINARY)

RESTORED = "restored/"
"""Prefix of the metrics of the epoch whose model a run has kept, if that may not be the last."""

_BINARY_LOSSES = frozenset({Loss.binary_crossentropy.value})
_GREATER_IS_BETTER = frozenset({"val/r2", "val/accuracy", "val/auc"})


def predicts_probability(loss: Loss | str) -> bool:
    """Return True if a model trained with `loss` predicts the probability of label 1."""
    return str(getattr(loss, "value", loss)) in _BINARY_LOSSES


def deciding_metric(*, held_out: bool) -> str:
    """Return the metric that decides which run is better."""
    return "val/loss" if held_out else "train/loss"


def final_values(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a run's recorded metrics, those of its restored epoch in place of its last one's."""
    found = {key: value for key, value in metrics.items() if not key.startswith(RESTORED)}
    return found | {key.removeprefix(RESTORED): value for key, value in metrics.items() if key.startswith(RESTORED)}


def greater_is_better(metric: str) -> bool:
    """Return True if larger values of `metric` are better."""
    return metric in _GREATER_IS_BETTER
