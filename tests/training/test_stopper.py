"""A lane ended by a stopper has the results of a shorter run, and other lanes are not affected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.config import DataConfig, Loss, Scaling
from harness.data.blocks import Blocks
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.models import mlp
from harness.training.events import Ending, EpochEnd, Event, Progress, Stopped
from harness.training.lane import Lane
from harness.training.stopper import Patience, PatienceRule
from harness.training.trainer import Scan
from tests.helpers import (
    History,
    finish,
    finish_with_states,
    lane,
    make_scan,
    noisy_table,
    note,
    recipe,
    train,
)


class AtEpoch:
    """Ends one lane after its `patience`-th epoch."""

    def __init__(self, lane: int, patience: int) -> None:
        self.lane, self.patience, self.heard = lane, patience, 0

    def leaving(self, ends: Sequence[EpochEnd]) -> dict[int, Ending]:
        self.heard += sum(end.lane == self.lane for end in ends)
        return {self.lane: Ending.pruned} if self.heard == self.patience else {}

    def state(self) -> dict[str, np.ndarray]:
        return {"heard": np.array(self.heard)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.heard = int(state["heard"])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return noisy_table(tmp_path_factory.mktemp("data"), 3003)


def lanes(first: tuple[int, ...]) -> list[Lane]:
    """Two tiles: lanes 0 and 1 share one, and lane 2 has its own."""
    return [lane(100, stops=first), lane(100, rate=0.1, stops=(4,)), lane(100, stops=(4,), recipe_=recipe(mlp))]


def test_a_lane_ends_early_and_its_companions_do_not_notice(table: Table) -> None:
    short = train(lanes((2,)), table)
    events: list[Event] = []
    found = [History() for _ in short]
    for event in make_scan(lanes((1, 3, 4)), table, stopper=AtEpoch(0, 2)).run():
        events.append(event)
        note(found, event)
    stopped = [event for event in events if isinstance(event, Stopped) and event.lane == 0]
    assert [(event.epoch, event.stops, event.ending.name) for event in stopped] == [
        (1, (1,), "reached"),
        (2, (3, 4), "pruned"),
    ]
    assert [end.metrics for end in found[0].epochs] == [end.metrics for end in short[0].epochs]
    assert [end.loss for end in found[0].epochs] == [end.loss for end in short[0].epochs]
    assert all(np.array_equal(a, b) for a, b in zip(found[0].weights[2], short[0].weights[2], strict=True))
    assert [history.numbers for history in found[1:]] == [history.numbers for history in short[1:]]


@pytest.mark.slow
def test_a_lane_at_its_last_stop_is_not_ended_twice(table: Table) -> None:
    found = train(lanes((2,)), table, stopper=AtEpoch(0, 2))
    assert list(found[0].weights) == [2]
    assert len(found[0].epochs) == 2


def test_a_scan_ends_when_all_lanes_have_left(table: Table) -> None:
    scan = make_scan([lane(100, stops=(9,))], table, stopper=AtEpoch(0, 2))
    events = list(scan.run())
    assert max(event.epoch for event in events if isinstance(event, Progress)) == 2


@pytest.mark.slow
def test_a_resumed_scan_knows_who_has_left(table: Table) -> None:
    def made() -> Scan:
        return make_scan(lanes((4,)), table, stopper=AtEpoch(0, 2), block_rows=1024)

    whole = [History() for _ in range(3)]
    states = finish_with_states(made(), whole)
    heard = [[len(history.epochs) for history in before] for _, before in states]
    # In the first epoch, after the second, when the lane has ended, and in the third.
    for place in (0, heard.index([2, 2, 2]), heard.index([2, 2, 2]) + 1):
        found = finish(made(), [History() for _ in range(3)], states[place][0])
        for history, all_of_it, epochs in zip(found, whole, heard[place], strict=True):
            assert history.numbers[0] == all_of_it.numbers[0][epochs:]
            assert {epoch: all_of_it.numbers[2][epoch] for epoch in history.weights} == history.numbers[2]


def ends(metric: str, *values: float, lane: int = 0) -> list[EpochEnd]:
    nothing = np.zeros(0)
    return [
        EpochEnd(lane, epoch, epoch, 1.0, {metric: value} if np.isfinite(value) else {}, 0.0, (nothing, nothing))
        for epoch, value in enumerate(values, 1)
    ]


@pytest.mark.parametrize(
    ("rule", "values", "stops"),
    [
        (PatienceRule("val/loss", 2), [3, 2, 2, 1.9, 2, 1.95, 1], 6),
        (PatienceRule("val/loss", 2, min_delta=0.5), [3, 2, 1.9, 1.6, 1], 4),
        (PatienceRule("val/r2", 1), [0.1, 0.2, 0.2], 3),
        (PatienceRule("val/r2", 1), [0.1, 0.2, 0.3], None),
        (PatienceRule("val/loss", 1), [float("nan")], 1),
    ],
)
def test_patience_counts_epochs_without_improvement(rule: PatienceRule, values: list[float], stops: int | None) -> None:
    stopper = Patience({0: rule})
    for end in ends(rule.metric, *values):
        leaving = stopper.leaving([end, *ends(rule.metric, 1.0, lane=7)])
        assert leaving == ({0: Ending.stopped} if end.epoch == stops else {})
        again = Patience({0: rule})
        again.restore(stopper.state())
        stopper = again
        if leaving:
            break


@pytest.mark.slow
def test_kept_weights_are_measured_on_the_test_and_class_by_class(tmp_path: Path) -> None:
    """Weights of an earlier epoch, or of a lane that was stopped, have the metrics of a run with that many epochs."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(600, 2)), columns=["a", "b"])
    frame["y"] = (frame["a"] - 2 * frame["b"] + rng.normal(size=600) > 0).astype(int)
    frame.to_csv(tmp_path / "some.csv", index=False)
    table = open_table(DataConfig(["a", "b"], "y", str(tmp_path / "some.csv"), test=0.2), tmp_path)
    of_table = Scaler.of(table, Scaling.standard, scale_target=False)

    def stopped(stops: tuple[int, ...], restore: str | None = None, stopper: Patience | None = None) -> Stopped:
        each = Lane(100, recipe(loss=Loss.binary_crossentropy), 0, 0.5, stops, restore)
        test = Blocks(table, "test", of_table)
        events = make_scan([each], table, of_table, test=test, stopper=stopper).run()
        return [event for event in events if isinstance(event, Stopped)][-1]

    improving = PatienceRule("val/loss", 2)
    left = stopped((9,), stopper=Patience({0: improving}))
    restored = stopped((9,), "val/loss")
    assert left.ending is Ending.stopped
    assert restored.restored
    assert restored.restored.epoch < 9
    for found, epoch in ((left, left.epoch), (restored, restored.restored.epoch)):
        planned = stopped((epoch,))
        assert planned.test
        assert planned.confusion is not None
        assert found.test == planned.test
        assert np.array_equal(found.confusion, planned.confusion)


@pytest.mark.slow
def test_a_lane_keeps_the_weights_of_its_best_epoch(table: Table) -> None:
    """At this learning rate, the loss rises again; the state is saved and restored on the way."""
    rate, rule = 0.9, PatienceRule("val/loss", 2)

    def made(stops: tuple[int, ...] = (9,), restore: str | None = "val/loss", **options: object) -> Scan:
        return make_scan([Lane(100, recipe(mlp), 0, rate, stops, restore)], table, **options)

    history = History()
    states = finish_with_states(made(stopper=Patience({0: rule})), [history])
    (stopped,) = (event for event in made(stopper=Patience({0: rule})).run() if isinstance(event, Stopped))
    losses = [end.metrics["val/loss"] for end in history.epochs]
    best = losses.index(min(losses)) + 1
    assert stopped.restored
    assert (stopped.epoch, stopped.ending, stopped.restored.epoch) == (best + 2, Ending.stopped, best)
    assert stopped.restored.metrics["val/loss"] == min(losses)
    assert best + 2 < 9
    (alone,) = finish(made((best,), None), [History()])
    assert [end.metrics for end in alone.epochs] == [end.metrics for end in history.epochs[:best]]
    assert all(np.array_equal(a, b) for a, b in zip(stopped.weights, alone.weights[best], strict=True))
    (again,) = finish(made(stopper=Patience({0: rule})), [History()], states[-3][0])
    assert again.numbers[2] == history.numbers[2]
