"""A lane that a stopper ends has the results of a shorter run; its companions do not notice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.config import DataConfig, Scaling
from harness.data.scaler import Scaler
from harness.data.table import Table
from harness.data.table_builder import open_table
from harness.models import mlp
from harness.training.events import EpochEnd, Event, Progress, Stopped
from harness.training.tile import Lane
from tests.helpers import History, lane, make_scan, note, recipe, train


class AtEpoch:
    """Ends one lane after its `patience`-th epoch."""

    def __init__(self, lane: int, patience: int) -> None:
        self.lane, self.patience, self.heard = lane, patience, 0

    def leaving(self, ends: Sequence[EpochEnd]) -> list[int]:
        self.heard += sum(end.lane == self.lane for end in ends)
        return [self.lane] if self.heard == self.patience else []

    def state(self) -> dict[str, np.ndarray]:
        return {"heard": np.array(self.heard)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.heard = int(state["heard"])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """3,003 rows."""
    folder: Path = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(3003, 2)), columns=["a", "b"])
    frame["y"] = frame["a"] - 2 * frame["b"] + rng.normal(size=3003)
    frame.to_csv(folder / "some.csv", index=False)
    return open_table(DataConfig(["a", "b"], "y", str(folder / "some.csv")), folder)


def lanes(first: tuple[int, ...]) -> list[Lane]:
    """Two tiles: the lanes 0 and 1 share one, lane 2 has its own."""
    return [lane(100, stops=first), lane(100, rate=0.1, stops=(4,)), lane(100, stops=(4,), recipe_=recipe(mlp))]


def scaler(table: Table) -> Scaler:
    return Scaler.of(table, Scaling.standard)


def test_a_lane_ends_early_and_its_companions_do_not_notice(table: Table) -> None:
    short = train(lanes((2,)), table, scaler(table))
    events: list[Event] = []
    found = [History() for _ in short]
    for event in make_scan(lanes((1, 3, 4)), table, scaler(table), stopper=AtEpoch(0, 2)).run():
        events.append(event)
        note(found, event)
    stopped = [event for event in events if isinstance(event, Stopped) and event.lane == 0]
    assert [(event.epoch, event.stops) for event in stopped] == [(1, (1,)), (2, (3, 4))]
    assert [end.metrics for end in found[0].epochs] == [end.metrics for end in short[0].epochs]
    assert [end.loss for end in found[0].epochs] == [end.loss for end in short[0].epochs]
    assert all(np.array_equal(a, b) for a, b in zip(found[0].weights[2], short[0].weights[2], strict=True))
    assert [history.numbers for history in found[1:]] == [history.numbers for history in short[1:]]


@pytest.mark.slow
def test_a_lane_at_its_last_stop_is_not_ended_twice(table: Table) -> None:
    found = train(lanes((2,)), table, scaler(table), stopper=AtEpoch(0, 2))
    assert list(found[0].weights) == [2]
    assert len(found[0].epochs) == 2


def test_a_scan_ends_when_all_lanes_have_left(table: Table) -> None:
    scan = make_scan([lane(100, stops=(9,))], table, scaler(table), stopper=AtEpoch(0, 2))
    events = list(scan.run())
    assert max(event.epoch for event in events if isinstance(event, Progress)) == 2


@pytest.mark.slow
def test_a_resumed_scan_knows_who_has_left(table: Table) -> None:
    def make() -> tuple:
        scan = make_scan(lanes((4,)), table, scaler(table), stopper=AtEpoch(0, 2), block_rows=1024)
        return scan, [History() for _ in range(3)]

    scan, whole = make()
    states, heard = [], []
    for event in scan.run():
        note(whole, event)
        if isinstance(event, Progress):
            states.append(scan.state())
            heard.append([len(history.epochs) for history in whole])
    # In the first epoch, after the second, where the lane has left, and in the third.
    for place in (0, heard.index([2, 2, 2]), heard.index([2, 2, 2]) + 1):
        again, found = make()
        again.restore(states[place])
        for event in again.run():
            note(found, event)
        for history, all_of_it, epochs in zip(found, whole, heard[place], strict=True):
            assert history.numbers[0] == all_of_it.numbers[0][epochs:]
            assert {epoch: all_of_it.numbers[2][epoch] for epoch in history.weights} == history.numbers[2]
