"""Moving lanes to other tiles does not affect them, even in resumed scans; later scans reuse compiled loops."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from harness.data.tables.table import Table
from harness.models import mlp
from harness.training.events import Ending, EpochEnd
from harness.training.lane import Lane
from harness.training.trainer import Scan
from tests.helpers import History, finish, finish_with_states, make_scan, noisy_table, recipe, train

LEAVING = dict.fromkeys([0, 1, 2, 3, 8, 9, 10, 11], 1) | {4: 2, 12: 2}
"""The epoch after which each lane ends; all 18 lanes start in tiles of eight."""


class Leaving:
    """Ends lanes at given epochs."""

    def leaving(self, ends: Sequence[EpochEnd]) -> dict[int, Ending]:
        return {end.lane: Ending.pruned for end in ends if LEAVING.get(end.lane) == end.epoch}

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        assert not state


def small(inputs: int) -> keras.Model:
    return mlp(inputs, units=[3])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return noisy_table(tmp_path_factory.mktemp("data"), 1203)


def test_survivors_move_together_and_equal_their_runs_alone(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    functions: list[Any] = []
    compile_ = tf.function

    def compiling(function: Any, **options: Any) -> Any:
        functions.append(compile_(function, **options))
        return functions[-1]

    monkeypatch.setattr(tf, "function", compiling)
    rates = [0.01 + 0.001 * lane for lane in range(16)] + [0.9, 0.02]
    shared = dataclasses.replace(recipe(small), shared_as=small)
    lanes = [Lane(100, shared, seed, rate, (3,), "val/loss") for seed, rate in enumerate(rates)]

    def made() -> Scan:
        return make_scan(lanes, table, tile=8, stopper=Leaving())

    whole = [History() for _ in lanes]
    ends = [state for state, _ in finish_with_states(made(), whole) if state["position"][1] == 0]
    used = [[state[f"tile/{tile}/positions"][:, 0].tolist() for tile in range(3)] for state in ends[:2]]
    assert used == [[[4, 5, 6, 7, 16, 17], [12, 13, 14, 15], []], [[5, 6, 7, 16, 17, 13, 14, 15], [], []]]
    before = len(functions), sum(function.experimental_get_tracing_count() for function in functions)
    for lane in (5, 14, 16):
        (alone,) = train([lanes[lane]], table, tile=8)
        assert whole[lane].numbers == alone.numbers
    assert len(whole[14].epochs) == 3
    for state in ends[:2]:
        again = finish(made(), [History() for _ in lanes], state)
        epoch = int(state["position"][0])
        for found, all_of_it in zip(again, whole, strict=True):
            assert found.numbers[0] == [end for end in all_of_it.numbers[0] if end[0] >= epoch]
            assert found.weights.keys() == {last for last in all_of_it.weights if last >= epoch}
            assert found.numbers[2] == {last: all_of_it.numbers[2][last] for last in found.weights}
    # All of these scans have reused the first one's compiled loops.
    assert (len(functions), sum(function.experimental_get_tracing_count() for function in functions)) == before
    twice = dict(ends[0]) | {"tile/2/positions": np.array([[4, 1]])}
    with pytest.raises(ValueError, match="twice"):
        made().restore(twice)
