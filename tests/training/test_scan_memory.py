"""A scan that does not fit into memory is reduced before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.runtime.host_memory import _left
from harness.training.call_memory import CallMemory
from harness.training.cohort import Cohort
from harness.training.scan_memory import Load
from harness.training.strategy import Strategy
from harness.training.update_memory import UpdateMemory

XLA = Strategy("xla", False, 1024)


def load(*, is_fixed: bool = False, devices: int = 1) -> Load:
    """16 lanes of 10 bytes in two tiles, whose calls take 8 times 100 bytes, and 40 bytes of blocks."""
    cohort = Cohort([*range(16)], 8, XLA, UpdateMemory(0, 0), [], 100, CallMemory(10, 0, 1, 0), is_fixed)
    return Load([cohort], 40, 2, devices)


def test_all_lanes_and_the_calls_that_run_at_once_count() -> None:
    assert load().bytes == 40 + 16 * 10 + 2 * 800
    assert load(devices=2).bytes == 40 + 16 * 10 / 2 + 2 * 800
    assert load()._replace(calls=1).bytes == 40 + 16 * 10 + 800


@pytest.mark.parametrize(
    ("free", "calls", "tile"),
    [(1800, 2, 8), (1799, 1, 8), (1000, 1, 8), (999, 1, 4), (401, 1, 2), (300, 1, 1), (299, 2, 8)],
)
def test_first_fewer_calls_run_at_once_and_then_tiles_are_smaller_if_that_helps(
    free: int, calls: int, tile: int
) -> None:
    found = load().fitted(free)
    assert (found.calls, found.cohorts[0].tile) == (calls, tile)


def test_a_tile_that_the_user_has_chosen_stays() -> None:
    for free, calls in ((1000, 1), (999, 2)):
        found = load(is_fixed=True).fitted(free)
        assert (found.calls, found.cohorts[0].tile) == (calls, 8)


def test_reductions_are_described_in_a_sentence() -> None:
    before = load()
    assert before.difference(before, 2000) == ""
    assert before.difference(before, 100) == "1.8 kB needed, but only 100 B available"
    assert before.fitted(600).difference(before, 600) == (
        "1 call at a time instead of 2, 4 lanes per call instead of 8: "
        "1.8 kB would be needed, but only 600 B is available"
    )


def test_a_control_group_leaves_less(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder, limit, used in ((inner, "max", 5), (inner.parent, "100", 70)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 1\nactive_file 8\ninactive_file 12\n")
    assert [*_left(tmp_path, inner)] == [50]
