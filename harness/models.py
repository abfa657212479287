"""The models and losses that come with the harness; any function that returns a Keras model can take their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from harness.config import Loss


def linear(inputs: int, init: float = 0.1) -> keras.Model:
    """Build `prediction = intercept + slope_1 * feature_1 + ...`.

    Args:
        inputs: Number of features.
        init: Where intercept and slopes start.

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
        activation: Of the hidden layers, by its Keras name.

    Returns:
        A model `[rows, inputs] -> [rows, 1]`.
    """
    hidden = [keras.layers.Dense(width, activation=activation) for width in units]
    return keras.Sequential([keras.Input((inputs,)), *hidden, keras.layers.Dense(1)])


def row_losses(loss: Loss) -> Callable:
    """Return the function `(targets [rows, 1], outputs [rows, 1]) -> losses [rows]`.

    For `binary_crossentropy` the model's output is a logit, the target 0 or 1.
    """
    if loss is Loss.binary_crossentropy:
        return lambda targets, outputs: keras.losses.binary_crossentropy(targets, outputs, from_logits=True)
    return {
        Loss.mse: keras.losses.mean_squared_error,
        Loss.mae: keras.losses.mean_absolute_error,
        Loss.huber: keras.losses.huber,
    }[loss]


def is_linear(model: keras.Model) -> bool:
    """Say whether `model` is one linear layer in float32 and no more: no penalty, constraint or code of its own."""
    if type(model) is not keras.Sequential or [type(layer) for layer in model.layers] != [keras.layers.Dense]:
        return False
    (layer,) = model.layers
    extras = ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint")
    names = [variable.path.rpartition("/")[-1] for variable in model.trainable_variables]
    return (
        layer.activation is keras.activations.linear
        and (names, model.non_trainable_variables) == (["kernel", "bias"], [])
        and {layer.dtype_policy.name, model.inputs[0].dtype} == {"float32"}
        and all(getattr(layer, name) is None for name in extras)
    )


def kernel_and_bias(model: keras.Model) -> tuple[np.ndarray, float] | None:
    """Return slopes `[features]` and intercept if `model` is one linear layer, else None."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if len(layers) != 1 or not isinstance(layers[0], keras.layers.Dense):
        return None
    if layers[0].activation is not keras.activations.linear or not layers[0].use_bias:
        return None
    kernel, bias = layers[0].get_weights()
    return kernel[:, 0], float(bias[0])
