"""Names and directions of the metrics that a run records each epoch; `training.objective` computes them."""

from __future__ import annotations

REGRESSION = ("val/rmse", "val/mae", "val/r2")
BINARY = ("val/accuracy", "val/auc")
EPOCH_METRICS = ("train/loss", "val/loss", *REGRESSION, *BINARY)

_GREATER_IS_BETTER = frozenset({"val/r2", "val/accuracy", "val/auc"})


def greater_is_better(metric: str) -> bool:
    """Return True if larger values of `metric` are better."""
    return metric in _GREATER_IS_BETTER
