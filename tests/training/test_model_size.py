"""Models are measured before they are built, and refused if they cannot fit into memory."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from harness.errors import ConfigError
from harness.models import linear, mlp
from harness.training.encoding import Encoding
from harness.training.lanes import Stack
from harness.training.model_size import count_weights, row_values
from tests.helpers import recipe


class Lazy(keras.Model):
    """A model that is built when it is called."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(units)
        self.last = keras.layers.Dense(1)

    def call(self, x):
        return self.last(self.dense(x))


def huge(inputs: int) -> keras.Model:
    return mlp(inputs, [2_000_000_000])


@pytest.mark.parametrize("build", [linear, mlp, lambda inputs: Lazy(5)])
def test_weights_are_counted_without_building(build) -> None:
    model = build(3)
    model(np.zeros((1, 3), np.float32))
    assert count_weights(lambda: build(3), 3) == model.count_params()


def test_counting_leaves_no_trace() -> None:
    def names_and_weights() -> list:
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        model = mlp(3, [4])
        return [[layer.name for layer in model.layers], [weights.tolist() for weights in model.get_weights()]]

    before = names_and_weights()
    assert count_weights(lambda: huge(3)) == 10_000_000_001
    assert names_and_weights() == before


@pytest.mark.parametrize(
    "build", [huge, lambda inputs: Lazy(2_000_000_000), lambda inputs: mlp(inputs, [10**6, 10**6])]
)
def test_a_model_that_does_not_fit_into_memory_is_refused(build) -> None:
    with pytest.raises(ConfigError, match=r"^model: 1[\d,]+ weights need .*B of memory, but .*B are available"):
        Stack(recipe(build), Encoding((0, 0, 0)))


def test_the_values_of_all_layers_are_counted() -> None:
    inner = mlp(3, [4])
    outer_input = keras.Input((2,))
    outer = keras.Model(outer_input, inner(keras.layers.Dense(3)(outer_input)))
    assert row_values(outer) == 2 + 3 + (4 + 1)
