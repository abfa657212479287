"""Invariants of every scan: results depend neither on other lanes nor on block size."""

from __future__ import annotations

import functools
import io
from dataclasses import replace

import keras
import numpy as np
import pytest

from harness.config import Loss, Scaling
from harness.config.objective import CLASSES_LOSS
from harness.data.blocks import SLICE_ROWS
from harness.data.scaler import Scaler
from harness.errors import ConfigError
from harness.models import linear, mlp
from harness.training import lanes as lanes_module
from harness.training.curves import thinned
from harness.training.encoding import Encoding
from harness.training.events import Progress
from harness.training.feed import FeedLimits
from harness.training.gram import GramChunks
from harness.training.lanes import Stack
from harness.training.loops import WholeChunks
from tests.helpers import (
    History,
    breaks_in_training,
    finish,
    finish_with_states,
    lane,
    make_scan,
    recipe,
    sliced_table,
    train,
)
from tests.reference import eager_keras

ONE_OUTPUT = [loss for loss in Loss if loss is not CLASSES_LOSS]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return functools.partial(sliced_table, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def data(table):
    """The table with default settings."""
    return table()


def scaler(table, scaling=Scaling.standard, **options):
    return Scaler.of(table, scaling, **options)


def with_dropout(inputs):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])


slow = functools.partial(pytest.param, marks=pytest.mark.slow)


def test_lanes_of_one_seed_start_from_one_model() -> None:
    built: list[keras.Model] = []

    def build(inputs: int) -> keras.Model:
        built.append(mlp(inputs, units=[2]))
        return built[-1]

    stack = Stack(recipe(build), Encoding((0,)))
    built.clear()
    first, second = (stack.start(some, [0.1] * len(some)) for some in ([3, 3, 4, 3], [4, 5]))
    assert len(built) == 3
    kernel = first.weights[0].numpy()
    assert (kernel[0] == kernel[[1, 3]]).all()
    assert (kernel[2] == second.weights[0].numpy()[0]).all()
    assert (kernel[0] != kernel[2]).any()


@pytest.mark.parametrize(
    ("build", "gram", "chunks"),
    [
        (linear, False, (7, 1025)),
        (linear, True, (100, 1000, 1024, 1025, 2500, 10**6)),
        slow(linear, False, (100, 1000, 1024, 2500, 10**6)),
        slow(mlp, False, (7, 1025)),
    ],
)
@pytest.mark.slow
def test_results_do_not_depend_on_block_size(data, build, gram, chunks):
    lanes = [lane(min(chunk, data.train_rows), recipe_=recipe(build)) for chunk in chunks]
    whole, *others = [train(lanes, data, block_rows=rows, gram=gram) for rows in (None, 1, 2000)]
    for other in others:
        assert [history.numbers for history in other] == [history.numbers for history in whole]


@pytest.mark.parametrize(("build", "gram"), [(linear, True), slow(linear, False), slow(mlp, False)])
def test_results_do_not_depend_on_companions(data, build, gram):
    """Some of the other lanes need rows; `mine` uses Gram matrices if `gram` is set."""
    mine = lane(100, recipe_=recipe(build), rate=0.02)
    alone = train([mine], data, gram=gram)[0]
    others = [lane(100, rate=rate, seed=seed, recipe_=recipe(build)) for rate, seed in ((1e30, 3), (0.5, 1), (0.1, 2))]
    others += [lane(1000, recipe_=recipe(build))] * 9 + [lane(100, recipe_=recipe(build), stops=(1, 3))] * 11
    for place, more in ((0, []), (2, [lane(7, recipe_=recipe(build))]), (len(others), [])):
        found = train([*others[:place], mine, *others[place:], *more], data, gram=gram)
        assert found[place].numbers == alone.numbers


@pytest.mark.slow
def test_same_seed_twice_is_bit_equal_and_another_seed_is_not(data):
    first, again, other = (train([lane(100, seed=seed, recipe_=recipe(mlp))], data)[0].numbers for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize(("build", "gram"), [(linear, True), slow(linear, False), slow(with_dropout, False)])
def test_a_scan_resumes_bit_identically_from_any_state(data, build, gram):
    """This also holds with another block size; one lane diverges, and another stops early."""
    limits = FeedLimits(span_blocks=1)
    momentum = recipe(build, {"name": "sgd", "momentum": 0.9})
    lanes = [lane(100, stops=(1, 3), recipe_=recipe(build)), lane(100, rate=1e30, recipe_=recipe(build))]
    lanes += [lane(size, stops=(3,), recipe_=momentum) for size in (1000, 2500)]
    lanes += [lane(data.train_rows, stops=(2,), recipe_=recipe(build))]
    scan = make_scan(lanes, data, block_rows=1024, gram=gram, feed_limits=limits)
    whole = [History() for _ in lanes]
    states = finish_with_states(scan, whole)
    assert len(states) == 3 * (4 + 1)
    # Within an epoch, and between training and evaluation.
    for place, rows in ((3, 2048), (6, None)):
        state, before = states[place]
        with io.BytesIO() as file:
            np.savez(file, allow_pickle=False, **state)
            file.seek(0)
            plain = dict(np.load(file, allow_pickle=False))
        again = make_scan(lanes, data, block_rows=rows, gram=gram, feed_limits=limits)
        finish(again, before, plain)
        assert [history.numbers for history in before] == [history.numbers for history in whole]
        assert again.clocks.train > float(state["clocks"][2]) > 0


@pytest.mark.slow
def test_longer_slices_change_only_rounding(data, monkeypatch):
    """As on a GPU, which computes more rows at once."""
    limits = FeedLimits(span_blocks=1)
    lanes = [lane(chunk, stops=(3,), recipe_=recipe(mlp)) for chunk in (100, 1500, 2500, data.train_rows)]
    usual = train(lanes, data)
    choose = lanes_module.choose_strategy
    monkeypatch.setattr(
        lanes_module, "choose_strategy", lambda *how, **more: replace(choose(*how, **more), slice_rows=2048)
    )
    scan = make_scan(lanes, data, block_rows=2048, feed_limits=limits)
    found = [History() for _ in lanes]
    states = finish_with_states(scan, found)
    for ours, known in zip(found, usual, strict=True):
        assert ours.epochs[-1].metrics == pytest.approx(known.epochs[-1].metrics, rel=1e-4)
    state, before = states[3]  # Within the second epoch.
    assert state["position"].tolist() == [2, 2048]
    finish(make_scan(lanes, data, feed_limits=limits), before, state)
    assert [history.numbers for history in before] == [history.numbers for history in found]


def test_a_state_of_other_lanes_is_refused(data):
    state = make_scan([lane(100)], data).state()
    for lanes in ([lane(2500)], [lane(100), lane(200)], [lane(100, recipe_=recipe(mlp))]):
        with pytest.raises(ValueError, match="other lanes"):
            make_scan(lanes, data).restore(state)


EDITS = {
    "position": [[3, 5000], [0, 0], [9, 0], [1, 1000], [1, -1024], [-1, 0], [2**62, 0], [np.nan, 0], [1]],
    "clocks": [[0, 0, 0, np.nan], [0, 0, 0, -1], [0, 0]],
    "tile/0/updates": [0, 7, 2**40, -1],
    "tile/0/positions": [[[0, 1]], [[7, 0]], [[-1, 0]], [0]],
    "tile/0/diverged": [[[7, 1]], [[0, 2**40]]],
    "tile/0/chunk": [99],
    "tile/0/curve/numbers": [[], [2, 1], [2**40]],
    "tile/0/curve/values": [[], [[np.nan]]],
    "tile/0/loop/0": [[], [1.0], np.zeros((9, 9))],
    "tile/0/loop/99": [0.0],
    "tile/0/strange": [0],
    "tile/1/updates": [0],
}


def test_an_edited_state_is_refused(data):
    scan = make_scan([lane(100)], data, block_rows=1024, feed_limits=FeedLimits(span_blocks=1))
    events = scan.run()
    assert isinstance(next(events), Progress)
    state = scan.state()
    events.close()
    again = make_scan([lane(100)], data)
    again.restore(state)
    for name, values in EDITS.items():
        edited = [{key: state[key] for key in state if key != name} | {"tile/0/other": np.array(0)}]
        for value in values:
            for kind in (state.get(name, np.array(0)).dtype, np.float64, np.int32, np.bool_):
                with np.errstate(invalid="ignore"):
                    edited.append(state | {name: np.array(value).astype(kind)})
        for each in edited:
            with pytest.raises((ValueError, KeyError)):
                again.restore(each)


def test_shorter_run_is_the_beginning_of_a_longer_one(data):
    both = train([lane(100, stops=(1, 3))], data)[0]
    short = train([lane(100, stops=(1,))], data)[0]
    assert list(both.weights) == [1, 3]
    assert short.numbers[0] == both.numbers[0][:1]
    assert [value.tolist() for value in both.weights[1]] == [value.tolist() for value in short.weights[1]]


def test_a_diverged_lane_emits_no_further_events(data):
    found = train([lane(100, rate=1e30, stops=(1, 3)), lane(100, stops=(1, 3))], data)
    assert found[0].diverged == 2
    assert found[0].epochs == []
    assert found[0].weights == {}
    assert len(found[1].epochs) == 3


def test_divergence_in_the_last_update_is_seen(data):
    sgd = recipe(optimizer={"name": "sgd"})
    history = train([lane(data.train_rows, rate=2e38, stops=(1,), recipe_=sgd)], data, scaler(data, Scaling.none))[0]
    assert history.diverged == 1


def test_second_epoch_sees_the_same_rows(data):
    """With a negligible learning rate, all epochs have the same losses."""
    for chunk in (7, 1025):
        history = train([lane(chunk, rate=1e-30, stops=(2,))], data, block_rows=1024)[0]
        curve = history.curve
        updates = history.epochs[0].updates
        assert history.epochs[0].loss == history.epochs[1].loss
        assert [curve[n] for n in curve if n <= updates and n + updates in curve] == [
            curve[n + updates] for n in curve if n <= updates and n + updates in curve
        ]


def test_epoch_loss_weighs_chunks_by_their_rows(data):
    """With a negligible learning rate, the epoch's loss is the mean over rows for any chunk size."""
    lanes = [lane(min(chunk, data.train_rows), rate=1e-30, stops=(1,)) for chunk in (7, 1000, 1025, 10**6)]
    losses = [history.epochs[0].loss for history in train(lanes, data)]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


def plain_loop(values, chunk, build, loss=keras.losses.mean_squared_error):
    """Train for an epoch with Keras's own loop; return the losses, and the model's weights."""
    keras.utils.set_random_seed(0)
    model, optimizer = build(3), keras.optimizers.Adam(0.01)
    parts = [values[start : start + chunk] for start in range(0, len(values), chunk)]
    plain = eager_keras(lambda: ((part[:, :-1], part[:, -1]) for part in parts), model, optimizer, loss, 1)
    return plain.losses, model.get_weights()


@pytest.mark.parametrize(
    ("chunk", "loss"),
    [
        (100, Loss.mse),
        slow(2500, Loss.mse),
        *(case for loss in ONE_OUTPUT if loss is not Loss.mse for case in (slow(100, loss), (2500, loss))),
    ],
)
def test_equals_eager_keras(table, loss, chunk):
    labels = loss is Loss.binary_crossentropy
    data = table(target="label" if labels else "y", holdout=0.0)
    found = train(
        [lane(chunk, recipe_=recipe(mlp, loss=loss), stops=(1,))], data, scaler(data, scale_target=not labels)
    )
    values = scaler(data, scale_target=not labels).apply(data.read("train", 0, data.train_rows)).T
    functions = {
        Loss.mse: keras.losses.mean_squared_error,
        Loss.mae: keras.losses.mean_absolute_error,
        Loss.huber: keras.losses.huber,
        Loss.binary_crossentropy: lambda y, z: keras.losses.binary_crossentropy(y, keras.ops.sigmoid(z)),
    }
    losses, weights = plain_loop(values, chunk, mlp, functions[loss])
    np.testing.assert_allclose(list(found[0].curve.values()), losses, rtol=2e-4)
    for value, expected in zip(found[0].weights[1], weights, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)


def with_batch_norm(inputs):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])


def with_penalty(inputs):
    return keras.Sequential(
        [keras.Input((inputs,)), keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.1))]
    )


@pytest.mark.slow
def test_dropout_follows_the_seed(data):
    drops = recipe(with_dropout)
    lanes = [lane(chunk, seed=seed, stops=(1,), recipe_=drops) for chunk in (100, 1025) for seed in (0, 0, 1)]
    first, again, other, *sliced = train(lanes, data)
    assert first.error is None
    assert first.numbers == again.numbers
    assert first.curve != other.curve
    assert sliced[0].numbers == sliced[1].numbers
    assert sliced[0].curve != sliced[2].curve


class Wrapper(keras.layers.Layer):
    """Keeps its layers where only Keras finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = {"all": [keras.layers.BatchNormalization(), keras.layers.LayerNormalization()]}

    def call(self, x, training=False):
        return self.parts["all"][1](self.parts["all"][0](x, training=training))


def with_nested_batch_norm(inputs):
    return keras.Sequential([keras.Input((inputs,)), Wrapper(), keras.layers.Dense(1)])


@pytest.mark.parametrize(("build", "chunk"), [(with_batch_norm, 100), (with_penalty, 100), (with_penalty, 2500)])
def test_layers_with_state_or_penalty_equal_eager_keras(table, build, chunk):
    data = table(holdout=0.0)
    history = train([lane(chunk, recipe_=recipe(build), stops=(1,))], data)[0]
    values = scaler(data).apply(data.read("train", 0, data.train_rows)).T
    losses, weights = plain_loop(values, chunk, build)
    np.testing.assert_allclose(list(history.curve.values()), losses, rtol=1e-4)
    for value, expected in zip(history.weights[1], weights, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("build", [with_batch_norm, with_nested_batch_norm])
def test_batch_norm_is_refused_where_a_chunk_is_summed_in_slices(data, build):
    message = r"chunksize=1025 does not work with batch_normalization\w*, which .* Use chunksize <= 1024"
    with pytest.raises(ConfigError, match=message):
        make_scan([lane(SLICE_ROWS + 1, recipe_=recipe(build))], data)


def broken(inputs):
    raise RuntimeError("no such luck")


def two_outputs(inputs):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(2)])


@pytest.mark.parametrize(("build", "reason"), [(broken, "no such luck"), (breaks_in_training, "not in training")])
def test_model_that_fails_fails_alone(data, build, reason):
    alone = train([lane(100)], data)[0]
    found = train([lane(100, recipe_=recipe(build)), lane(100)], data)
    assert reason in str(found[0].error)
    assert found[0].epochs == []
    assert found[1].numbers == alone.numbers


@pytest.mark.parametrize(("gram", "block"), [(False, 2), (True, 0)])
@pytest.mark.slow
def test_tile_that_fails_after_compilation_fails_alone(data, monkeypatch, gram, block):
    alone = train([lane(100)], data, block_rows=1024, gram=gram)[0]
    loop = GramChunks if gram else WholeChunks
    advance, calls = loop.advance, []

    def fail(self, carry, rows):
        if self.updates == -(-data.train_rows // 200) and rows.stop:
            calls.append(rows.start)
            if len(calls) > block:
                raise ArithmeticError("no luck")
        return advance(self, carry, rows)

    monkeypatch.setattr(loop, "advance", fail)
    found = train([lane(200), lane(100)], data, block_rows=1024, gram=gram)
    assert found[0].error == "ArithmeticError: no luck"
    assert found[0].epochs == []
    assert found[1].numbers == alone.numbers


def test_model_of_another_shape_is_refused(data):
    with pytest.raises(ConfigError, match=r"the shape \[2, 2\] instead of \[2, 1\]. Its last layer must have units=1."):
        train([lane(100, recipe_=recipe(two_outputs))], data)


@pytest.mark.parametrize("points", [3, 50, 1000])
def test_curve_keeps_its_ends_and_at_most_so_many_points(points):
    for total in (1, 2, 999, 1000, 1001, 1999, 3460, 10**6 + 7):
        kept = np.arange(1, total + 1)[thinned(np.arange(1, total + 1), total, points)]
        assert kept[0] == 1
        assert kept[-1] == total
        assert len(kept) <= points
        assert len(kept) >= min(total, points // 2)


@pytest.mark.slow
def test_lanes_of_a_thousand(data):
    rates = np.geomspace(1e-4, 1e-1, 1024)
    found = train([lane(1000, rate=float(rate), stops=(1,)) for rate in rates], data)
    assert sum(len(history.epochs) for history in found) == 1024
    assert found[700].numbers == train([lane(1000, rate=float(rates[700]), stops=(1,))], data)[0].numbers
