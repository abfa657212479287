"""Models that come with harness. Any function that takes the number of inputs and returns a Keras model works too.

A function whose second argument is `outputs` also gets the number of outputs: of targets or classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from harness.config.limits import require_whole
from harness.errors import require

Inputs = int | tuple[int, ...]
"""Number of features, or the shape of one row's input, for images `(height, width, channels)`."""

MOST_LAYERS, MOST_UNITS = 100, 1_000_000


def linear(inputs: Inputs, outputs: int = 1, init: float = 0.1) -> keras.Model:
    """Build `prediction = intercept + slope_1 * feature_1 + ...`, for each output.

    Args:
        inputs: Number of features, or the shape of one row's input, which is flattened.
        outputs: Number of targets or classes.
        init: Initial value of intercept and slopes.

    Returns:
        A model `[rows, inputs] -> [rows, outputs]`.
    """
    start: Any = keras.initializers.Constant(init)
    layer = keras.layers.Dense(outputs, kernel_initializer=start, bias_initializer=start, name="linear")
    return keras.Sequential([*_flat(inputs), layer])


def mlp(inputs: Inputs, outputs: int = 1, units: Sequence[int] = (64, 64), activation: str = "relu") -> keras.Model:
    """Build a multilayer perceptron.

    Args:
        inputs: Number of features, or the shape of one row's input, which is flattened.
        outputs: Number of targets or classes.
        units: Width of each hidden layer; at most 100 layers of a million units.
        activation: Keras name of the hidden layers' activation function.

    Returns:
        A model `[rows, inputs] -> [rows, outputs]`.

    Raises:
        ConfigError: There are too many layers or units.
    """
    is_list = isinstance(units, Sequence) and not isinstance(units, str)
    require(is_list, f"model.units must be a list, such as [64,64], not {units!r}.")
    require(len(units) <= MOST_LAYERS, f"model.units: {len(units):,} hidden layers are more than {MOST_LAYERS}.")
    for width in units:
        require_whole("model.units", width, 1, MOST_UNITS)
    hidden = [keras.layers.Dense(width, activation=activation) for width in units]
    return keras.Sequential([*_flat(inputs), *hidden, keras.layers.Dense(outputs)])


def _flat(inputs: Inputs) -> list[Any]:
    """Return the layers that take the inputs and make `[rows, features]` of them."""
    if isinstance(inputs, int):
        return [keras.Input((inputs,))]
    return [keras.Input(inputs), keras.layers.Flatten()]
