"""The proposer of a grid."""

from __future__ import annotations

import pytest

from harness.errors import ConfigError
from harness.sweep.proposer import Grid

AXES = [["a=1", "a=2"], ["b=3"], ["c=4", "c=5"]]
JOBS = [["a=1", "b=3", "c=4"], ["a=1", "b=3", "c=5"], ["a=2", "b=3", "c=4"], ["a=2", "b=3", "c=5"]]


@pytest.mark.parametrize(("batch", "sizes"), [(None, [4]), (1, [1, 1, 1, 1]), (3, [3, 1]), (9, [4])])
def test_a_grid_proposes_all_combinations_in_batches(batch: int | None, sizes: list[int]) -> None:
    grid, batches = Grid(AXES, batch), []
    while found := grid.propose([]):
        batches.append(found)
    assert [len(found) for found in batches] == sizes
    assert [job for found in batches for job in found] == JOBS
    assert not grid.propose([])


def test_a_batch_size_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="max_batch_size must be positive, not 0"):
        Grid(AXES, 0)
