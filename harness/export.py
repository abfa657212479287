"""A trained model as others use it: raw columns in, predictions in the target's own units out."""

from __future__ import annotations

import warnings

import keras
import numpy as np

from harness.blocks import Scaler
from harness.config import Loss
from harness.table import Table


def raw_model(model: keras.Model, table: Table, scaler: Scaler, loss: Loss) -> keras.Model:
    """Wrap `model` so that logarithms and scaling happen inside.

    Returns:
        A Keras model of one input `[rows, 1]` a feature, by the column's name, whose output `[rows, 1]` is in the
        target's units; for `binary_crossentropy` it is the probability of 1.
    """
    *features, target = table.columns
    # Keras takes no slash in a tensor's name, and warns that then it is not the input's.
    inputs = {column.name: keras.Input((1,), name=column.name.replace("/", "|")) for column in features}
    values = list(inputs.values())
    values = keras.layers.Concatenate()(values) if len(values) > 1 else values[0]
    if any(column.log for column in features):
        logs = np.array([[column.log for column in features]])
        values = keras.ops.where(logs, keras.ops.log(keras.ops.where(logs, values, 1.0)), values)
    # Not a Normalization layer: it takes a standard deviation below 1e-7 for 1e-7.
    values = keras.layers.Rescaling(1.0, (-scaler.mean[:-1]).tolist())(values)
    outputs = model(keras.layers.Rescaling((1 / scaler.std[:-1]).tolist())(values))
    if loss is Loss.binary_crossentropy:
        outputs = keras.layers.Activation("sigmoid")(outputs)
    else:
        outputs = keras.layers.Rescaling(float(scaler.std[-1]), float(scaler.mean[-1]))(outputs)
        outputs = keras.ops.exp(outputs) if target.log else outputs
    with warnings.catch_warnings(action="ignore"):
        return keras.Model(inputs, outputs)
