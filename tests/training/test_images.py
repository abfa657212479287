"""Models are trained on images as in a plain Keras loop, and results depend on nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

import keras
import numpy as np
import pytest

from harness.config import Scaling
from harness.data import blocks
from harness.data.blocks import Blocks
from harness.data.scaler import Scaler
from harness.data.tables.table import Table
from harness.errors import ConfigError
from harness.models import linear, mlp
from harness.training import strategy
from harness.training.arrangement import idle_cores
from harness.training.encoding import Encoding
from harness.training.lanes import Recipe, Stack
from harness.training.trainer import Scan
from tests.helpers import History, finish, finish_with_states, recipe
from tests.helpers import lane as lane_of
from tests.pixels import SHAPE, pixel_table, small_cnn, with_batch_norm
from tests.reference import eager_keras

CNN = recipe(small_cnn)
lane = functools.partial(lane_of, recipe_=CNN)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Table:
    return pixel_table(tmp_path_factory.mktemp("pixels"))


@pytest.fixture
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 64 rows fill a slice."""
    monkeypatch.setattr(strategy, "SLICE_BYTES", 64 * int(Stack(CNN, Encoding((0,), SHAPE)).trace.row_bytes))


def scan_of(lanes: list, table: Table, scaling: Scaling = Scaling.standard, **options) -> Scan:
    scaler = Scaler.of(table, Scaling.none)
    size = options.pop("block_rows", None)
    train, holdout = (Blocks(table, part, scaler, block_rows=size) for part in ("train", "holdout"))
    return Scan(lanes, train, holdout, Encoding.of(table, scaling), **options)


def trained(lanes: list, table: Table, scaling: Scaling = Scaling.standard, **options) -> list[History]:
    found = finish(scan_of(lanes, table, scaling, **options), [History() for _ in lanes])
    assert not any(history.error for history in found), [history.error for history in found]
    return found


def scaled(table: Table, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    pixels, y = table.read("train", 0, table.train_rows)
    x = pixels.astype(np.float64)
    x = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2)) if scaling is Scaling.standard else x / 255
    return x.astype(np.float32), y


@pytest.mark.parametrize(
    ("chunk", "scaling"),
    [(64, Scaling.none), (300, Scaling.standard), pytest.param(100, Scaling.standard, marks=pytest.mark.slow)],
)
def test_updates_equal_a_plain_keras_loop(table: Table, chunk: int, scaling: Scaling, short_slices: None) -> None:
    (found,) = trained([lane(chunk)], table, scaling)
    x, y = scaled(table, scaling)

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return ((x[start : start + chunk], y[start : start + chunk]) for start in range(0, len(x), chunk))

    keras.utils.set_random_seed(0)
    plain = eager_keras(chunks, small_cnn(SHAPE), keras.optimizers.Adam(0.01), keras.losses.mean_squared_error, 2)
    assert found.epochs[-1].updates == len(plain.losses)
    np.testing.assert_allclose([*found.curve.values()], plain.losses, rtol=1e-4)
    for value, expected in zip(found.weights[2], plain.weights[1], strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-5)


def test_results_depend_neither_on_companions_nor_on_blocks(table: Table, short_slices: None) -> None:
    mine = [lane(60, stops=(1,)), lane(300, stops=(1,))]
    alone = [trained([each], table)[0].numbers for each in mine]
    diverging, *others = [lane(60, rate=1e30), lane(60, seed=1, stops=(2,)), lane(300, rate=0.5, stops=(2,))]
    found = trained([diverging, *others, *mine], table, block_rows=64)
    assert [history.numbers for history in found[3:]] == alone
    assert found[0].diverged


@pytest.mark.slow
def test_a_scan_of_images_resumes_bit_identically(table: Table, short_slices: None) -> None:
    lanes = [lane(32, recipe_=recipe(augmented)), lane(300)]
    scan = scan_of(lanes, table, block_rows=64)
    whole = [History(), History()]
    _, (state, before), *_ = finish_with_states(scan, whole)
    assert state["position"].tolist() == [1, 128]
    finish(scan_of(lanes, table, block_rows=128), before, state)
    assert [history.numbers for history in before] == [history.numbers for history in whole]


def augmented(inputs: tuple[int, ...]) -> keras.Model:
    layers = keras.layers
    augment = [layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomZoom(0.1), layers.Dropout(0.2)]
    return keras.Sequential([keras.Input(inputs), *augment, *small_cnn(inputs).layers])


@pytest.mark.slow
def test_augmentation_follows_the_seed_of_its_lane(table: Table) -> None:
    lanes = [lane(64, seed=seed, recipe_=recipe(augmented), stops=(1,)) for seed in (0, 0, 1)]
    first, again, other = trained(lanes, table)
    assert first.numbers == again.numbers
    assert first.curve != other.curve
    alone = trained([lane(64, recipe_=recipe(small_cnn), stops=(1,))], table)[0]
    assert alone.curve != first.curve


def stack(build: Callable[..., keras.Model], device: str = "/CPU:0", shape: tuple[int, ...] = SHAPE) -> Stack:
    return Stack(
        Recipe("", build, {"name": "adam"}, CNN.objective), Encoding((0,), shape, (0.0,) * 3, (1.0,) * 3), device
    )


def convolution_of_rows(inputs: int) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((inputs,)), layers.Reshape((inputs, 1)), layers.Conv1D(2, 1), layers.Flatten(), layers.Dense(1)]
    )


def test_the_strategy_follows_from_operations_and_device() -> None:
    def found(build: Callable[..., keras.Model], device: str = "/CPU:0") -> tuple[str, bool]:
        chosen = stack(build, device).strategy
        return chosen.compiler, chosen.is_unrolled

    assert found(mlp) == ("xla", False)
    assert found(small_cnn) == ("graph", True)
    assert found(small_cnn, "/GPU:0") == ("xla", True)
    assert found(augmented, "/GPU:0") == ("graph", True)
    rows = Stack(recipe(convolution_of_rows), Encoding((0, 0, 0)))
    assert rows.strategy.compiler == "graph"
    assert Stack(recipe(mlp), Encoding((0,))).strategy == strategy.Strategy("xla", False, 1024)
    assert Stack(recipe(mlp), Encoding((0,)), "/GPU:0").strategy == strategy.Strategy("xla", False, 16384)


def test_slices_follow_from_the_bytes_of_inputs_and_activations() -> None:
    trace = stack(small_cnn).trace
    # Activations of the convolution, of pooling and of the output, and the gradient of the first.
    convolution, others = 4 * 6 * 6 * 4, 4 * 3 * 3 * 4 + 4
    assert (trace.kept_bytes, trace.activation_bytes) == (convolution + others, 2 * convolution + others)
    empty = replace(trace, kept_bytes=0, largest_bytes=0, input_bytes=0)
    for kind in ("kept_bytes", "input_bytes"):
        rows = [strategy.slice_rows(replace(empty, **{kind: size})) for size in (1, 3e5, 2e6, 1e12)]
        assert rows == [1024, 512, 128, 1]
    assert stack(linear, shape=(224, 224, 3)).strategy.slice_rows == 256


def test_a_block_has_a_slice_of_however_large_images(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 100)
    made = Blocks(table, "train", Scaler.of(table, Scaling.none)).cut(2, 2)
    assert (made.block_rows, made.capacity) == (2, 4)


def test_batch_normalization_is_computed_over_whole_chunks_or_refused(table: Table, short_slices: None) -> None:
    """A chunk may be longer than a slice, but not longer than a slice of ordinary rows."""
    (found,) = trained([lane(200, recipe_=recipe(with_batch_norm), stops=(1,))], table)
    x, y = scaled(table, Scaling.standard)
    keras.utils.set_random_seed(0)
    model = with_batch_norm(SHAPE)
    chunks = [(x[:200], y[:200]), (x[200:], y[200:])]
    plain = eager_keras(lambda: iter(chunks), model, keras.optimizers.Adam(0.01), keras.losses.mean_squared_error, 1)
    np.testing.assert_allclose([*found.curve.values()], plain.losses, rtol=1e-4)
    for value, expected in zip(found.weights[1], model.get_weights(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ConfigError, match=r"^chunksize=2000 does not work with batch_norm\w*, .* chunksize <= 1024"):
        scan_of([lane(2000, recipe_=recipe(with_batch_norm))], replace(table, train_rows=2000))


def test_one_lane_of_convolutions_says_that_cores_are_idle(table: Table) -> None:
    (alone,) = scan_of([lane(32)], table).cohorts
    assert idle_cores([alone], 1, 4) == (
        "the only lane keeps 1 of 4 cores busy; runtime.threads=4 uses all of them, and changes rounding"
    )
    assert idle_cores([alone, alone], 1, 4).startswith("2 lanes keep 2 of 4 cores busy; runtime.threads=2 uses all")
    (rows,) = scan_of([lane(32, recipe_=recipe(mlp))], table).cohorts
    assert idle_cores([alone], 2, 4) == idle_cores([alone], 1, 1) == idle_cores([rows], 1, 4) == ""
