"""With layers in 16 bits, results are close to float32's, and each lane has its own loss scaling."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from harness.cli.reproduce import Request, reproduce
from harness.config import Config, DataConfig, LogModel, Loss, Precision, RuntimeConfig, TrackingConfig
from harness.data.tables.table import Table
from harness.models import cnn, linear, mlp
from harness.runtime.keras_settings import dtype_policy
from harness.sweep import runner
from harness.sweep.display import Display
from harness.sweep.run_fields import run_params
from harness.tracking.reader import RunReader
from harness.training import loss_scaling
from harness.training.encoding import Encoding
from harness.training.lanes import Recipe, Stack
from tests.helpers import History, finish, finish_with_states, lane, make_scan, noisy_table, recipe, train

# The command sets this before anything is computed, but here, another test may have run first.
tf.config.threading.set_intra_op_parallelism_threads(1)


def of(precision: str, build: Callable[..., keras.Model], optimizer: str = "sgd") -> Recipe:
    """Return a recipe whose compiled loops are shared by the scans of a test."""

    def built(inputs: Any) -> keras.Model:
        with dtype_policy(precision):
            return build(inputs)

    found = recipe(built, {"name": optimizer})
    return replace(found, shared_as=found.identity)


def ends_in_16_bits(inputs: int) -> keras.Model:
    """Build a user's model, whose last layer follows the policy."""
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return noisy_table(tmp_path_factory.mktemp("data"), 300)


def scales(state: dict[str, np.ndarray]) -> list[float]:
    """Return the lanes' scales in a checkpoint: the values of the only tensor of this shape that can be scales."""
    (found,) = (
        value
        for name, value in state.items()
        if name.startswith("tile/0/loop/") and value.dtype == np.float32 and value.ndim == 1 and value.min() > 1000
    )
    return found.tolist()


def test_lanes_skip_updates_as_if_alone_also_when_resumed(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scaling, "INITIAL", 2.0**20)  # Gradients overflow until the scale is small enough.
    kind = of("mixed_float16", ends_in_16_bits)
    lanes = [lane(20, rate, (2,), seed, kind) for rate, seed in ((0.01, 0), (0.1, 3), (1.0, 4))]
    found, resumed = ([History() for _ in lanes] for _ in range(2))
    states = finish_with_states(make_scan(lanes, table, tile=4), found)
    state = next(state for state, _ in states if state["position"].tolist() == [2, 0])
    finish(make_scan(lanes, table, tile=4), resumed, state)
    for number in (0, 2):
        (alone,) = train([lanes[number]], table, tile=4)
        assert alone.numbers == found[number].numbers
    assert [each.weights[2][0].tolist() for each in resumed] == [each.weights[2][0].tolist() for each in found]
    assert len({*scales(state)[:3]}) > 1
    assert max(scales(state)) < 2.0**20
    assert {weight.dtype for each in found for weight in each.weights[2]} == {np.dtype(np.float32)}


def test_scales_and_skipped_updates_are_keras_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scaling, "GROWTH_UPDATES", 3)
    variable = keras.Variable([1.0, 2.0])
    kind = keras.optimizers.LossScaleOptimizer
    plain = kind(keras.optimizers.SGD(0.5), initial_scale=loss_scaling.INITIAL, dynamic_growth_steps=3)
    plain.build([variable])
    state: Any = [tf.constant(value[0]) for value in loss_scaling.start(1)]
    weights = tf.constant([1.0, 2.0])
    for gradient in ([1.0, 2.0], [1.0, np.inf], [3.0, 1.0], [1.0, 1.0], [0.0, 1.0], [np.nan, 1.0], [1.0, 1.0]):
        found = tf.constant(gradient, tf.float32)
        plain.apply([found * plain.dynamic_scale], [variable])
        (weights,), state = loss_scaling.select(state, [found], [weights], [weights - 0.5 * found])
        assert weights.numpy().tolist() == variable.numpy().tolist()
        assert (float(state[0]), int(state[1])) == (float(plain.dynamic_scale), int(plain.step_counter))
    assert float(state[0]) == loss_scaling.INITIAL / 2


def test_the_smallest_scale_skips_nothing_and_the_largest_stays() -> None:
    nan, one = tf.constant([np.nan]), tf.constant([1.0])
    state: Any = [tf.constant(loss_scaling.SMALLEST), tf.constant(0)]
    (weights,), state = loss_scaling.select(state, [nan], [one], [nan])
    assert np.isnan(weights.numpy()).all()
    assert float(state[0]) == loss_scaling.SMALLEST
    state = [tf.constant(loss_scaling.LARGEST), tf.constant(loss_scaling.GROWTH_UPDATES)]
    assert float(loss_scaling.select(state, [one], [one], [one])[1][0]) == loss_scaling.LARGEST


@pytest.mark.parametrize(
    ("precision", "build", "expected"),
    [
        ("float32", mlp, (False, {"float32"}, "float32")),
        ("mixed_bfloat16", mlp, (False, {"bfloat16", "float32"}, "float32")),
        ("mixed_float16", mlp, (True, {"float16", "float32"}, "float32")),
        ("mixed_float16", linear, (False, {"float32"}, "float32")),
    ],
)
def test_the_last_layer_computes_in_float32(
    precision: str, build: Callable[..., keras.Model], expected: tuple[bool, set[str], str]
) -> None:
    stack = Stack(of(precision, build), Encoding((0, 0)))
    computed = {layer.compute_dtype for layer in stack.model.layers}
    assert (stack.scales_loss, computed, stack.model.outputs[0].dtype) == expected
    assert {variable.dtype for variable in stack.model.variables} == {"float32"}


def test_weights_cast_to_16_bits_are_not_activations() -> None:
    trace = Stack(of("mixed_bfloat16", mlp), Encoding((0, 0))).trace
    # The inputs and both layers in 16 bits, the second one in float32 for the last layer, and the output.
    assert (trace.kept_bytes, trace.largest_bytes) == (2 * (2 + 64 + 64) + 4 * 64 + 4, 4 * 64)


def test_the_policy_is_restored_also_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), dtype_policy("mixed_float16"):
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("chunk", [20, 1100])
def test_stacked_lanes_equal_lanes_alone(tmp_path: Path, precision: str, chunk: int) -> None:
    table = noisy_table(tmp_path, 1500)
    kinds = [of(each, functools.partial(mlp, units=[8]), "adam") for each in (precision, "float32")]
    lanes = [lane(chunk, rate, (2,), recipe_=kinds[0]) for rate in (0.003, 0.03)]
    found = train(lanes, table)
    assert train(lanes[1:], table)[0].numbers == found[1].numbers
    (exact,) = train([lane(chunk, 0.03, (2,), recipe_=kinds[1])], table)
    assert found[1].epochs[-1].metrics["val/loss"] == pytest.approx(exact.epochs[-1].metrics["val/loss"], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_convolutions(precision: str) -> None:
    stacks = [
        Stack(of(each, functools.partial(cnn, filters=[4, 4], units=4)), Encoding((0,), (8, 8, 1), (0.0,), (1.0,)))
        for each in (precision, "float32")
    ]
    random = np.random.default_rng(0)
    x, y = (tf.constant(random.random(shape), tf.float32) for shape in ((32, 8, 8, 1), (32, 1)))
    found, exact = (stack.update(stack.start([0, 1], [0.1, 0.1]), x, y) for stack in stacks)
    np.testing.assert_allclose(found[0], exact[0], rtol=0.02)
    for one, other in zip(found[1].weights, exact[1].weights, strict=True):
        assert one.dtype == tf.float32
        np.testing.assert_allclose(one, other, atol=0.01)


@pytest.mark.slow
def test_a_run_is_recorded_reproduced_and_its_model_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    noisy_table(tmp_path, 300)
    model: dict[str, Any] = {"_target_": "harness.models.mlp", "units": [8]}
    config = Config(
        chunksize=20,
        learning_rate=0.01,
        epochs=2,
        seed=0,
        loss=Loss.mse,
        data=DataConfig(features=["a", "b"], target="y", path="some.csv", holdout=0.0),
        model=model,
        optimizer={"name": "adam"},
        tracking=TrackingConfig(experiment="precise", log_model=LogModel.all),
        runtime=RuntimeConfig(precision=Precision.mixed_bfloat16),
    )
    display = Display(Console(file=io.StringIO()))
    (mixed,) = runner.train([config], display, command="harness train ...")
    (exact,) = runner.train([replace(config, runtime=RuntimeConfig())], display, command="harness train ...")
    assert mixed.signature != exact.signature
    assert run_params(mixed.config)["runtime.precision"] == "mixed_bfloat16"
    assert "runtime.precision" not in run_params(exact.config)
    records = RunReader(f"sqlite:///{tmp_path}/mlflow.db")
    assert reproduce(records, Request(mixed.run_id), display)
    losses = [records.run(run.run_id).data.metrics["train/loss"] for run in (mixed, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]
    import mlflow
    import pandas as pd

    frame = pd.read_csv("some.csv")
    predictions = [
        mlflow.pyfunc.load_model(f"runs:/{run.run_id}/model").predict(frame[["a", "b"]]) for run in (mixed, exact)
    ]
    one, other = (np.asarray(each, np.float64).ravel() for each in predictions)
    assert np.corrcoef(one, other)[0, 1] > 0.999
