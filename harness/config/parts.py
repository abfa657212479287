"""The parts into which rows are split: checks `data.holdout`, `data.test` and `data.folds` together."""

from __future__ import annotations

from typing import Protocol

from harness.config.limits import require_whole, shown
from harness.errors import require

HOLDOUT = 0.2
MOST_FOLDS = 1000


class Parts(Protocol):
    """The keys of `data` that determine how rows are split."""

    holdout: float
    test: float
    folds: int | None
    fold: int | None


def check_parts(data: Parts) -> None:
    """Check the keys; if there are folds, set the holdout to the share of one fold.

    Raises:
        ConfigError: The keys are out of range or contradict each other.
    """
    require(0 <= data.holdout < 1, f"data.holdout must be a fraction in [0, 1), not {shown(data.holdout)}.")
    require(0 <= data.test < 1, f"data.test must be a fraction in [0, 1), not {shown(data.test)}.")
    _check_folds(data)
    left = data.holdout + data.test < 1
    require(left, f"data.holdout={data.holdout:g} and data.test={data.test:g} leave no rows to train on.")
    data.holdout, data.test = float(data.holdout), float(data.test)


def _check_folds(data: Parts) -> None:
    require_whole("data.folds", data.folds, 2, MOST_FOLDS, optional=True)
    if data.folds is None:
        require(data.fold is None, "data.fold needs data.folds, the number of folds.")
        return
    require(
        data.fold is not None,
        f"data.folds={data.folds}: add -m to train all folds, or choose one with data.fold, from 0 to "
        f"{data.folds - 1}.",
    )
    require_whole("data.fold", data.fold, 0, data.folds - 1)
    share = (1 - data.test) / data.folds
    rest = f"data.folds={data.folds}, which holds out {share:.3g} each time"
    require(data.holdout in (HOLDOUT, share), f"Remove data.holdout={data.holdout:g}, or {rest}.")
    data.holdout = share
