"""Training from Gram matrices: when it is used, its agreement with training on rows, and how often rows are read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from harness.config import DataConfig, Loss, Order, Scaling
from harness.data.blocks import Blocks
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.models import linear, mlp
from harness.training.encoding import Encoding
from harness.training.events import Progress
from harness.training.feed import Feed, FeedLimits
from harness.training.gram import GramSteps
from harness.training.lanes import Stack
from harness.training.linear_models import is_linear
from harness.training.slices import take_rows
from tests.helpers import History, finish, finish_with_states, lane, make_scan, recipe, train

DECAY = {"name": "adamw", "weight_decay": 0.1}
TOWNS = {"features": ["a", "town"], "categorical": ["town"]}
MOMENTUM = {"name": "sgd", "momentum": 0.9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of 150,000 rows, enough for several pages to shuffle."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(rng.normal(size=(150_000, 2)), columns=["a", "b"]).round(3)
    frame["town"] = rng.choice(["x", "y", "z"], len(frame))
    frame["y"] = frame["a"] - 2 * frame["b"] + frame["town"].map({"x": 0, "y": 1, "z": 5}) + rng.normal(size=len(frame))
    frame.round(3).to_csv(folder / "some.csv", index=False)
    return folder


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Epochs in which training rows were read."""
    read, found = Blocks.read, []

    def noted(self: Blocks, epoch: int, begin: int = 0):
        found.extend([epoch] if self.overlap else [])
        return read(self, epoch, begin)

    monkeypatch.setattr(Blocks, "read", noted)
    return found


def table(folder: Path, **settings: object) -> Table:
    source = {"features": ["a", "b"], "target": "y", "path": str(folder / "some.csv"), "holdout": 0.1} | settings
    return open_table(DataConfig(**source), folder)


def dense(units=1, **settings):
    return lambda inputs: keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units, **settings)])


class Doubled(keras.Sequential):
    def call(self, *arguments, **options):
        return 2 * super().call(*arguments, **options)


def frozen(inputs: int) -> keras.Model:
    model = linear(inputs)
    model.layers[0].trainable = False
    return model


def half_frozen(inputs: int) -> keras.Model:
    model = linear(inputs)
    model.layers[0].bias.trainable = False
    return model


@pytest.mark.parametrize(
    ("build", "suits"),
    [
        (linear, True),
        (dense(), True),
        (dense(kernel_initializer="ones"), True),
        (dense(units=2), False),
        (dense(use_bias=False), False),
        (dense(activation="relu"), False),
        (dense(kernel_regularizer="l2"), False),
        (dense(bias_regularizer="l1"), False),
        (dense(activity_regularizer="l2"), False),
        (dense(kernel_constraint="non_neg"), False),
        (dense(bias_constraint="non_neg"), False),
        (dense(dtype="float16"), False),
        (dense(lora_rank=2), False),
        (lambda inputs: keras.Sequential([keras.Input((inputs,), dtype="int32"), keras.layers.Dense(1)]), False),
        (frozen, False),
        (half_frozen, False),
        (lambda inputs: Doubled([keras.Input((inputs,)), keras.layers.Dense(1)]), False),
        (lambda inputs: keras.Sequential([keras.Input((inputs,)), *[keras.layers.Dense(1)] * 2]), False),
        (mlp, False),
    ],
)
def test_one_linear_layer_and_nothing_else_is_linear(build, suits):
    assert is_linear(build(1)) == suits


def test_matrices_pay_for_squared_error_few_columns_and_long_chunks():
    def pays(columns: int, chunk: int, loss: Loss = Loss.mse) -> bool:
        return GramSteps(Stack(recipe(loss=loss), Encoding((0,) * columns))).pays(chunk)

    assert pays(1, 15)
    assert not pays(1, 14)
    assert not pays(1, 1000, Loss.mae)
    assert pays(30, 160)
    assert not pays(31, 10_000)


def close(some: list[History], others: list[History]) -> None:
    """Assert that histories agree up to rounding, but not bit by bit."""
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(list(one.curve.values()), list(other.curve.values()), rtol=2e-5)
        np.testing.assert_allclose([end.loss for end in one.epochs], [end.loss for end in other.epochs], rtol=1e-5)
        for weights, others_weights in zip(one.weights[2], other.weights[2], strict=True):
            np.testing.assert_allclose(weights, others_weights, rtol=1e-4, atol=1e-6)
        assert one.epochs[-1].metrics == pytest.approx(other.epochs[-1].metrics, rel=1e-5)
    assert [one.numbers for one in some] != [other.numbers for other in others]


@pytest.mark.parametrize(
    ("settings", "optimizer", "scaling"),
    [
        pytest.param({}, DECAY, Scaling.none, id="decay"),
        pytest.param({"order": Order.shuffled}, MOMENTUM, Scaling.standard, id="shuffled", marks=pytest.mark.slow),
        pytest.param(TOWNS, {"name": "adam"}, Scaling.standard, id="categories"),
    ],
)
def test_matrices_agree_with_rows(folder, settings, optimizer, scaling):
    data = table(folder, **settings)
    lanes = [lane(chunk, rate, recipe_=recipe(optimizer=optimizer)) for chunk in (1000, 30_000) for rate in (0.01, 0.1)]
    by_rows, by_matrices = (train(lanes, data, Scaler.of(data, scaling), gram=gram) for gram in (False, True))
    close(by_matrices, by_rows)


@pytest.mark.parametrize(
    ("settings", "room", "expected"),
    [({}, 1 << 25, [1]), ({}, 0, [1, 2, 3]), (TOWNS, 1 << 25, [1]), ({"order": Order.shuffled}, 1 << 25, [1, 2, 3])],
    ids=["kept", "no room", "categories", "another order"],
)
def test_rows_are_read_once_if_their_matrices_fit(folder, passes, settings, room, expected):
    """Results do not depend on block size or on how many blocks are joined."""
    data = table(folder, **settings)
    limits = FeedLimits(span_blocks=2, kept_bytes=room)
    lanes = [lane(chunk, stops=(3,)) for chunk in (100, data.train_rows)]
    found = train(lanes, data, block_rows=20_000, feed_limits=limits)
    assert passes == expected
    limits = FeedLimits(kept_bytes=room)
    again = train(lanes, data, block_rows=200_000, feed_limits=limits)
    assert [history.numbers for history in found] == [history.numbers for history in again]


def test_joined_blocks_respect_the_limit(folder):
    data = table(folder)
    lanes = [lane(100)]

    def spans(limits: FeedLimits) -> int:
        scan = make_scan(lanes, data, block_rows=20_000, feed_limits=limits)
        return sum(isinstance(event, Progress) and event.rows < data.train_rows for event in scan.run())

    assert spans(FeedLimits()) == 0
    # A matrix of 4 columns takes 128 bytes, and the matrices of a block take 25.6 kB.
    assert spans(FeedLimits(span_bytes=60_000)) == 3


def test_a_scan_resumes_within_an_epoch_with_other_blocks(folder):
    data = table(folder)
    limits = FeedLimits(span_blocks=2)
    lanes = [lane(100), lane(30_000)]
    scan = make_scan(lanes, data, block_rows=10_240, feed_limits=limits)
    whole, found = ([History() for _ in lanes] for _ in range(2))
    (state, _), *_ = finish_with_states(scan, whole)
    again = make_scan(lanes, data, block_rows=12_288, feed_limits=limits)
    finish(again, found, state)
    assert [history.numbers for history in found] == [history.numbers for history in whole]


@pytest.mark.slow
def test_a_companion_that_needs_the_rows_has_them_read_while_it_trains(folder, passes):
    data = table(folder)
    found = train([lane(1000), lane(1000, recipe_=recipe(loss=Loss.mae))], data)
    assert passes == [1]  # Its only block is kept.
    for stops, expected in (((2,), [1, 2]), ((1,), [1])):
        passes.clear()
        again = train([lane(1000), lane(10, stops=stops)], data, block_rows=50_000)
        assert passes == expected
        assert found[0].numbers == again[0].numbers


def test_matrices_that_cannot_be_made_fail_their_own_lanes(folder, monkeypatch):
    data = table(folder)

    def fail(values, start, count):
        if count == 200:
            raise MemoryError("no room")
        return take_rows(values, start, count)

    alone = train([lane(1000)], data)[0]
    monkeypatch.setattr("harness.training.gram.take_rows", fail)
    found = train([lane(200), lane(1000)], data)
    assert found[0].error == "RuntimeError: not enough memory for the Gram matrices of chunks of 200 rows: no room"
    assert found[0].epochs == []
    assert found[1].numbers == alone.numbers


def test_a_part_of_one_block_is_brought_to_the_device_once(folder):
    data = table(folder)
    blocks = Blocks(data, "holdout", Scaler.of(data, Scaling.standard))
    with ThreadPoolExecutor() as pool:
        feed = Feed(blocks, ["/CPU:0"], pool, FeedLimits())
        (first,), (second,) = feed.read(1), feed.read(2)
    assert first.x is second.x
    assert (first.stop, first.x.shape) == (data.holdout_rows, (blocks.capacity, 2))
