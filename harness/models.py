"""Models that come with harness. Any function that takes the number of inputs and returns a Keras model works too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def linear(inputs: int, init: float = 0.1) -> keras.Model:
    """Build `prediction = intercept + slope_1 * feature_1 + ...`.

    Args:
        inputs: Number of features.
        init: Initial value of intercept and slopes.

    Returns:
        A model `[rows, inputs] -> [rows, 1]`.
    """
    start: Any = keras.initializers.Constant(init)
    layer = keras.layers.Dense(1, kernel_initializer=start, bias_initializer=start, name="linear")
    return keras.Sequential([keras.Input((inputs,)), layer])


def mlp(inputs: int, units: Sequence[int] = (64, 64), activation: str = "relu") -> keras.Model:
    """Build a multilayer perceptron.

    Args:
        inputs: Number of features.
        units: Width of each hidden layer.
        activation: Keras name of the hidden layers' activation function.

    Returns:
        A model `[rows, inputs] -> [rows, 1]`.
    """
    hidden = [keras.layers.Dense(width, activation=activation) for width in units]
    return keras.Sequential([keras.Input((inputs,)), *hidden, keras.layers.Dense(1)])
