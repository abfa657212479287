"""The size of models is computed before they are built, and those that do not fit into memory are rejected."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import keras
import numpy as np
import pytest

from harness.config import Scaling
from harness.data.scaler import Scaler
from harness.errors import ConfigError
from harness.models import linear, mlp
from harness.runtime import model_values
from harness.runtime.model_values import count_weights, require_memory, row_values
from harness.training import compilations
from harness.training.encoding import Encoding
from tests.helpers import lane, make_scan, recipe


class Lazy(keras.Model):
    """A model that is built when it is first called."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(units)
        self.last = keras.layers.Dense(1)

    def call(self, x):
        return self.last(self.dense(x))


def wide(*units: int) -> Callable[[int], keras.Model]:
    """Return a function that builds a model with these layers."""

    def build(inputs: int) -> keras.Model:
        return keras.Sequential([keras.Input((inputs,)), *map(keras.layers.Dense, units), keras.layers.Dense(1)])

    return build


@pytest.mark.parametrize("build", [linear, mlp, lambda inputs: Lazy(5)])
def test_weights_are_counted_without_building(build) -> None:
    model = build(3)
    model(np.zeros((1, 3), np.float32))
    assert count_weights(lambda: build(3), (3,)) == model.count_params()


@pytest.mark.slow
def test_counting_leaves_no_trace() -> None:
    def names_and_weights() -> list:
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        model = mlp(3, units=[4])
        return [[layer.name for layer in model.layers], [weights.tolist() for weights in model.get_weights()]]

    before = names_and_weights()
    assert count_weights(lambda: wide(2_000_000_000)(3)) == 10_000_000_001
    assert names_and_weights() == before


@pytest.mark.parametrize(
    ("build", "lanes"),
    [(wide(2 * 10**9), 1), (wide(10**6, 10**6), 1), (lambda inputs: Lazy(2 * 10**9), 1), (wide(10**6), 10_000)],
    ids=["units", "layers", "lazy", "lanes"],
)
def test_a_model_that_does_not_fit_into_memory_is_refused(build, lanes: int) -> None:
    with pytest.raises(ConfigError, match=r"^model: [\d,]+ weights need .*B of memory, but only .*B is available"):
        require_memory(lambda: build(3), 1 + lanes, "model", "Use smaller layers.", (3,))


def test_models_that_are_kept_make_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: OrderedDict = OrderedDict({"some": None})
    monkeypatch.setattr(compilations, "_kept", kept)
    monkeypatch.setattr(model_values, "available_host_bytes", lambda: 0 if kept else 10**9)
    assert compilations.compilation(recipe(linear), Encoding((0,)), "CPU:0", 1).stack
    assert "some" not in kept


def test_a_scan_measures_its_models(make_table) -> None:
    table = make_table("a,y\n1,2\n3,4\n")
    with pytest.raises(ConfigError, match=r"^model: 6,000,000,001 weights need "):
        make_scan([lane(1, recipe_=recipe(wide(2 * 10**9)))], table, Scaler.of(table, Scaling.none))


@pytest.mark.parametrize(
    ("units", "sentence"),
    [
        ([2 * 10**9], "model.units must be from 1 to 1000000, not 2000000000."),
        ([4, 0], "model.units must be positive, not 0."),
        ([1.5], "model.units must be a whole number, not 1.5."),
        ([1] * 101, "model.units has 101 layers; at most 100 are allowed."),
    ],
)
def test_the_layers_of_an_mlp_are_limited(units: list, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        mlp(3, units=units)
    assert str(error.value) == sentence


def test_the_values_of_all_layers_are_counted() -> None:
    inner = mlp(3, units=[4])
    outer_input = keras.Input((2,))
    outer = keras.Model(outer_input, inner(keras.layers.Dense(3)(outer_input)))
    assert row_values(outer) == 2 + 3 + (4 + 1)
