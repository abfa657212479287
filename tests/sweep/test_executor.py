"""A scan described as plain data gives bit-identical results after a round trip through JSON."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from typing import Any

import keras
import numpy as np
import pytest

from harness.errors import ConfigError
from harness.sweep.executor import LocalExecutor, ScanPlan
from harness.sweep.plan import arrange, prepare
from harness.training.events import Diverged, EpochEnd, Event, Failed, Measured, Progress, Stopped
from tests.sweep.folders import config

CSV = "a,b,y\n" + "".join(f"{i % 17},{i % 5 / 3},{2 * (i % 17) + i % 3}\n" for i in range(613))


@pytest.fixture
def plan(write) -> ScanPlan:
    """Four lanes: one stops twice, one diverges, one cannot be trained, and one is the full sample."""
    model, optimizer = {"_target_": "harness.models.mlp", "units": [3]}, {"name": "adam", "beta_1": 0.9}
    data = {"features": ["a", "b"]}
    first = config(write(CSV, "some.csv").parent, epochs=2, data=data, model=model, optimizer=optimizer)
    linear = {"_target_": "harness.models.linear", "init": 0.1}
    configs = [
        first,
        replace(first, epochs=1),
        replace(first, model=linear, optimizer={"name": "sgd"}, learning_rate=1e30),
        replace(first, chunksize="full", model=linear),
        replace(first, model={"_target_": "tests.helpers.breaks_in_training"}),
    ]
    (group,) = arrange(prepare(configs, lambda state: None))
    return group.plan


def plain(value: Any) -> Any:
    """Return an event with its arrays as bytes, to compare it bit for bit."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def numbers(event: Event) -> list[Any]:
    return [type(event), *(plain(getattr(event, f.name)) for f in fields(event) if f.name != "train_seconds")]


def trained(plan: ScanPlan) -> list[Event]:
    return list(LocalExecutor("/CPU:0").prepare(plan).run())


@pytest.mark.slow
def test_a_plan_and_its_events_survive_pickling(plan: ScanPlan) -> None:
    events = trained(plan)
    assert {type(event) for event in events} == {EpochEnd, Measured, Stopped, Diverged, Failed, Progress}
    again = trained(pickle.loads(pickle.dumps(plan)))
    assert [numbers(event) for event in again] == [numbers(event) for event in events]
    assert [numbers(event) for event in pickle.loads(pickle.dumps(events))] == [numbers(event) for event in events]


@pytest.mark.slow
def test_a_task_continues_from_the_state_of_another(plan: ScanPlan) -> None:
    lanes = [lane for lane in plan.lanes if "breaks" not in lane.model["_target_"]]
    plan = replace(plan, lanes=lanes, runtime=replace(plan.runtime, block_rows=1024))
    first = LocalExecutor("/CPU:0").prepare(plan)
    events = first.run()
    ends = 0
    for event in events:
        ends += isinstance(event, EpochEnd)
        if ends and isinstance(event, Progress):
            break
    state = pickle.loads(pickle.dumps(first.state()))
    second = LocalExecutor("/CPU:0").prepare(pickle.loads(pickle.dumps(plan)))
    second.restore(state)
    assert [numbers(event) for event in second.run()] == [numbers(event) for event in events]


def two_units(inputs: int) -> keras.Model:
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(2)])


def two_outputs(inputs: int) -> keras.Model:
    row = keras.Input((inputs,))
    return keras.Model(row, [keras.layers.Dense(1)(row), keras.layers.Dense(1)(row)])


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (f"{__name__}.two_units", "Its last layer must have units=1"),
        (f"{__name__}.two_outputs", "two_outputs returns a model with 2 outputs. It must return a single tensor."),
        ("tests.helpers.nowhere", "cannot import"),
    ],
)
def test_a_plan_that_cannot_be_trained_is_refused(plan: ScanPlan, target: str, sentence: str) -> None:
    lanes = [*plan.lanes, replace(plan.lanes[0], model={"_target_": target})]
    with pytest.raises(ConfigError, match=sentence):
        LocalExecutor("/CPU:0").prepare(replace(plan, lanes=lanes))
