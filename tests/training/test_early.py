"""Evaluations within the first epochs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from harness.data.tables.table import Table
from harness.models import linear, mlp
from harness.training.early import early_updates
from harness.training.events import Measured
from tests.helpers import History, lane, make_scan, note, recipe


@pytest.mark.parametrize(
    ("epochs", "updates", "holdout_rows", "found"),
    [
        (20, 173, 4300, [1, 2, 5, 10, 20, 50, 100]),  # Until the end of the first epoch.
        (5, 173, 4300, [1, 2, 5]),  # More would take too long.
        (3, 1, 4300, []),  # Every update ends an epoch.
        (20, 4, 4300, [1, 2, 5, 10]),  # Every fourth update ends an epoch.
        (5, 100, 0, []),
        (1, 10**6, 1, [digit * 10**power for power in range(6) for digit in (1, 2, 5)]),
    ],
)
def test_updates_that_are_measured(epochs: int, updates: int, holdout_rows: int, found: list[int]) -> None:
    assert early_updates(epochs, updates, 17_300, holdout_rows) == found


def _histories(scan) -> tuple[list[History], dict[tuple[int, int], dict[str, float]]]:
    found = [History() for _ in range(3)]
    early = {}
    for event in scan.run():
        note(found, event)
        if isinstance(event, Measured):
            early[event.lane, event.updates] = event.metrics
    return found, early


@pytest.mark.parametrize(
    ("build", "gram"),
    [
        (linear, True),
        pytest.param(linear, False, marks=pytest.mark.slow),
        pytest.param(mlp, False, marks=pytest.mark.slow),
    ],
)
def test_measuring_changes_nothing_and_does_not_depend_on_blocks(
    make_table: Callable[..., Table], build: Callable, gram: bool
) -> None:
    """Chunks within and across slices and blocks; each update of the third lane ends an epoch."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(3000, 2)), columns=["a", "y"])
    table = make_table(frame.to_csv(index=False), holdout=0.2)
    lanes = [lane(chunk, stops=(2, 6), recipe_=recipe(build)) for chunk in (100, 1500, table.train_rows)]
    without, none = _histories(make_scan(lanes, table, gram=gram))
    with_early, early = _histories(make_scan(lanes, table, block_rows=1024, gram=gram, early=True))
    assert not none
    assert [each.numbers for each in with_early] == [each.numbers for each in without]
    assert set(early) == {(0, 1), (0, 2), (0, 5), (1, 1), (1, 5)}
    assert len({metrics["val/loss"] for metrics in early.values()}) == len(early)
    if gram:
        return
    _, again = _histories(make_scan(lanes, table, gram=gram, early=True))
    assert early == again
