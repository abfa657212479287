"""Recognizes linear models and reads their coefficients."""

from __future__ import annotations

import keras
import numpy as np


def is_linear(model: keras.Model) -> bool:
    """Return True if `model` is a single linear float32 layer without regularizers, constraints or custom code."""
    if type(model) is not keras.Sequential or [type(layer) for layer in model.layers] != [keras.layers.Dense]:
        return False
    (layer,) = model.layers
    extras = ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint")
    names = [variable.path.rpartition("/")[-1] for variable in model.trainable_variables]
    return (
        layer.activation is keras.activations.linear
        and layer.units == 1
        and (names, model.non_trainable_variables) == (["kernel", "bias"], [])
        and {layer.dtype_policy.name, model.inputs[0].dtype} == {"float32"}
        and all(getattr(layer, name) is None for name in extras)
    )


def kernel_and_bias(model: keras.Model) -> tuple[np.ndarray, np.ndarray] | None:
    """Return slopes `[inputs, outputs]` and intercepts `[outputs]` if `model` is a single linear layer, else None."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if [type(layer) for layer in layers] != [keras.layers.Dense]:
        return None
    (layer,) = layers
    if layer.activation is not keras.activations.linear or not layer.use_bias:
        return None
    kernel, bias = layer.get_weights()
    return kernel, bias
