"""How many lanes a call updates, by device and model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.models import cnn, linear, mlp
from harness.training.encoding import Encoding
from harness.training.lanes import Stack
from harness.training.tile_length import candidates, longest_tile, tile_length
from harness.training.update_memory import UpdateMemory
from tests.helpers import recipe

ROWS = Encoding((0,) * 18)
IMAGES = Encoding((0,), (8, 8, 1), (0.0,), (255.0,))


def length(build: Callable[..., Any], encoding: Encoding, device: str, lanes: int, device_bytes: int = 0) -> int:
    stack = Stack(recipe(build), encoding, device)
    longest = longest_tile(stack, UpdateMemory.of(stack, targets=1), device_bytes, step_rows=1024)
    return tile_length(stack, device=device, longest=longest, lanes=lanes)


@pytest.mark.parametrize(("build", "encoding", "expected"), [(linear, ROWS, 8), (mlp, ROWS, 1), (cnn, IMAGES, 1)])
def test_on_a_cpu_it_depends_on_the_model_only(build: Callable[..., Any], encoding: Encoding, expected: int) -> None:
    assert {length(build, encoding, "/CPU:0", lanes, size) for lanes in (1, 1000) for size in (0, 10)} == {expected}


@pytest.mark.parametrize(
    ("lanes", "expected"), [(1, 1), (5, 5), (9, 16), (64, 64), (1000, 1000), (1024, 1024), (1025, 520), (5000, 1000)]
)
def test_on_a_gpu_lanes_are_spread_evenly_over_as_few_calls_as_possible(lanes: int, expected: int) -> None:
    assert length(mlp, ROWS, "/GPU:0", lanes) == expected


def test_on_a_gpu_unrolled_lanes_are_few() -> None:
    assert length(cnn, IMAGES, "/GPU:0", 64) == 8


def test_on_a_gpu_memory_limits_it() -> None:
    stack = Stack(recipe(mlp), ROWS, "/GPU:0")
    lane_bytes = UpdateMemory.of(stack, targets=1).of_rows(1024)
    assert length(mlp, ROWS, "/GPU:0", 64, int(2 * 20.5 * lane_bytes)) == 16  # 20 lanes fit: four calls of 16.
    assert length(mlp, ROWS, "/GPU:0", 64, int(2 * 5.5 * lane_bytes)) == 5
    assert length(mlp, ROWS, "/GPU:0", 64, 1) == 1


@pytest.mark.parametrize(
    ("lanes", "longest", "expected"),
    [
        (1, 1024, [1]),
        (6, 1024, [1, 2, 3, 6]),
        (64, 8, [1, 2, 4, 8]),
        (1000, 300, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]),
    ],
)
def test_candidates_spread_lanes_evenly(lanes: int, longest: int, expected: list[int]) -> None:
    assert candidates(lanes, longest) == expected
