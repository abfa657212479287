"""The updates within the first epochs after which the holdout is measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

MAX_SHARE = 0.1
"""Later measurements evaluate at most this many rows for each row that is trained on, which takes a few percent."""


def early_updates(epochs: int, updates: int, train_rows: int, holdout_rows: int) -> list[int]:
    """Return the updates among 1, 2, 5, 10, 20, 50 and so on after which a run measures the holdout.

    They go up to `epochs`, the number of updates of a full-sample run, so that both can be compared after the same
    number of updates; then on through the first epoch, as long as all of them together take little time. Ends of epochs
    are left out, as the holdout is measured there anyway.

    Args:
        epochs: The run's epochs.
        updates: Updates per epoch.
        train_rows: Rows per epoch.
        holdout_rows: Rows per measurement.
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
