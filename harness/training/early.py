"""Chooses the updates after which runs are evaluated, apart from the ends of epochs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

MAX_SHARE = 0.1
"""Later evaluations read at most this many rows per training row, which takes a few percent of the time."""


def early_updates(epochs: int, updates: int, train_rows: int, holdout_rows: int) -> list[int]:
    """Return the updates among 1, 2, 5, 10, 20, 50 and so on after which a run is evaluated on the holdout.

    They go up to `epochs`, the number of updates of a full-sample run, so that the run can be compared with it after
    the same number of updates; then through the rest of the first epoch, as long as evaluation takes little time in
    total.
    Ends of epochs are left out, since runs are evaluated there anyway.

    Args:
        epochs: The run's epochs.
        updates: Updates per epoch.
        train_rows: Rows per epoch.
        holdout_rows: Rows per evaluation.
    """
    if not holdout_rows:
        return []
    most = MAX_SHARE * epochs * train_rows / holdout_rows
    found: list[int] = []
    for update in _series():
        if update > max(epochs, updates) or (update > epochs and len(found) >= most):
            return found
        if update % updates:
            found.append(update)
    return found


def _series() -> Iterator[int]:
    return (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
