"""Calls that run out of memory are repeated with less work at a time, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from harness.data.tables.table import Table
from harness.models import mlp
from harness.training import strategy, trained_tile
from harness.training.events import Event, OutOfMemory, Progress
from harness.training.lane import Lane
from harness.training.trained_tile import cut
from harness.training.trainer import Scan
from tests.helpers import History, lane, make_scan, noisy_table, note, recipe

SMALL = recipe(lambda inputs: mlp(inputs, units=[3]))
LANES = [
    lane(chunk, 0.01 * (1 + index), recipe_=SMALL) for chunk, count in ((100, 10), (1500, 3)) for index in range(count)
]
FEW = LANES[:10]  # Two tiles.


class Memory:
    """Of a device. Compiled calls whose first argument is a `kind` fail if there are too many lanes, or a few times."""

    def __init__(self) -> None:
        self.lanes, self.kind, self.failures = 1000, "", 0

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        call = tf.function(function, jit_compile=True, autograph=False)

        def limited(*arguments: Any) -> Any:
            lanes = next(tensor.shape[0] for tensor in tf.nest.flatten(arguments) if tensor.shape.rank)
            if (lanes > self.lanes and self.kind in type(arguments[0]).__name__) or self.failures:
                self.failures = max(self.failures - 1, 0)
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
            return call(*arguments)

        return limited


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Memory:
    memory = Memory()
    monkeypatch.setattr(strategy, "compiled", memory.compiled)
    return memory


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return noisy_table(tmp_path_factory.mktemp("noisy"), 4000)


@pytest.fixture(scope="module")
def known(table: Table) -> list[History]:
    """The results of the lanes if there is memory for tiles of 8."""
    return collected(made(table, lanes=LANES).run())[0]


@pytest.fixture(scope="module")
def small(table: Table) -> list[History]:
    """The results of a few lanes in tiles of 2."""
    return collected(made(table, tile=2).run())[0]


def made(table: Table, tile: int | None = None, lanes: list[Lane] = FEW) -> Scan:
    return make_scan(lanes, table, block_rows=1024, tile=tile, early=True)


def collected(events: Iterable[Event], found: list[History] | None = None) -> tuple[list[History], list[str]]:
    found, sentences = found or [History() for _ in LANES], list[str]()
    for event in events:
        note(found, event)
        if isinstance(event, OutOfMemory):
            sentences.append(event.sentence)
    return found, sentences


def test_tiles_that_never_fit_are_smaller_from_the_start(table: Table, device: Memory, small: list[History]) -> None:
    device.lanes = 3
    scan = made(table)
    found, sentences = collected(scan.run())
    assert [each.numbers for each in found] == [each.numbers for each in small]
    changes = ", which changes the last bits of results"
    assert sentences == [
        "/CPU:0 ran out of memory; now making one call at a time",
        f"/CPU:0 ran out of memory with 8 lanes per call; continuing with 4 lanes{changes}",
        f"/CPU:0 ran out of memory with 4 lanes per call; continuing with 2 lanes{changes}",
    ]
    assert [cohort.tile_history for cohort in scan.cohorts] == ["2"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LoopState", "Sums"])
def test_tiles_that_no_longer_fit_continue_in_smaller_ones_and_resume_as_such(
    table: Table, device: Memory, known: list[History], kind: str
) -> None:
    device.kind = kind

    def events(scan: Scan) -> Iterator[Event]:
        for event in scan.run():
            yield event
            if event == Progress(scan.rows, 1):
                device.lanes = 4
            if isinstance(event, Progress) and event.epoch == 2:
                states.append(scan.state())

    scan, states = made(table, lanes=LANES), list[Any]()
    found, sentences = collected(events(scan))
    assert len(sentences) == 3
    assert [cohort.tile_history for cohort in scan.cohorts] == ["8, then 4", "8, then 4"]
    for index, each in enumerate(found):
        assert each.error is None
        assert each.epochs[0].loss == known[index].epochs[0].loss
        assert each.epochs[1].loss == pytest.approx(known[index].epochs[1].loss, rel=1e-5)
        np.testing.assert_allclose(each.weights[2][0], known[index].weights[2][0], rtol=1e-4, atol=1e-6)

    device.lanes = 1000  # The tiles are still those of the checkpoint.
    resumed = made(table, lanes=LANES)
    resumed.restore(states[-2])
    again, sentences = collected(resumed.run())
    assert not sentences
    assert [cohort.tile_history for cohort in resumed.cohorts] == ["8, then 4", "8, then 4"]
    assert [each.numbers[2] for each in again] == [each.numbers[2] for each in found]


@pytest.mark.slow
def test_a_checkpoint_brings_its_tiles(table: Table) -> None:
    scan = made(table, tile=4)
    events = scan.run()
    assert next(event for event in events if isinstance(event, Progress))
    state = scan.state()
    known, _ = collected(events)
    resumed = made(table)
    resumed.restore(state)
    assert {cohort.tile for cohort in resumed.cohorts} == {4}
    assert [each.numbers[2] for each in collected(resumed.run())[0]] == [each.numbers[2] for each in known]
    with pytest.raises(ValueError, match="it has tiles of other lanes"):
        made(table, tile=8).restore(state)


def test_calls_that_fit_one_at_a_time_have_the_same_results(table: Table, device: Memory, small: list[History]) -> None:
    device.failures = 1
    found, sentences = collected(made(table, tile=2).run())
    assert sentences == ["/CPU:0 ran out of memory; now making one call at a time"]
    assert [each.numbers for each in found] == [each.numbers for each in small]


@pytest.mark.parametrize(
    ("tile", "remedy"),
    [
        (8, "with 8 lanes per call. Use runtime.lane_tile=4, or null, which lets the harness choose."),
        (1, "with 1 lane per call. Use a smaller model."),
    ],
)
def test_a_tile_that_cannot_be_smaller_ends_its_lanes(table: Table, device: Memory, tile: int, remedy: str) -> None:
    device.lanes = 0
    found, sentences = collected(made(table, tile).run())
    assert {each.error for each in found[: len(FEW)]} == {f"/CPU:0 ran out of memory {remedy}"}
    assert len(sentences) == 1


def test_lanes_whose_state_cannot_be_divided_fail_alone(
    table: Table, device: Memory, small: list[History], monkeypatch: pytest.MonkeyPatch
) -> None:
    device.lanes, failures = 3, [tf.errors.ResourceExhaustedError(None, None, "OOM when slicing")]

    def cut_or_fail(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return cut(*arguments)

    monkeypatch.setattr(trained_tile, "cut", cut_or_fail)
    found, _ = collected(made(table).run())
    assert ["could not be divided" in (each.error or "") for each in found[: len(FEW)]] == [True] * 4 + [False] * 6
    assert [each.numbers for each in found[4 : len(FEW)]] == [each.numbers for each in small[4 : len(FEW)]]
