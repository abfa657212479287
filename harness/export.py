"""A trained model as others use it: raw columns in, predictions in the target's own units out."""

from __future__ import annotations

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
    inputs = {column.name: keras.Input((1,), name=column.name) for column in features}
    values = list(inputs.values())
    values = keras.layers.Concatenate()(values) if len(values) > 1 else values[0]
    if any(column.log for column in features):
        logs = np.array([[column.log for column in features]])
        values = keras.ops.where(logs, keras.ops.log(keras.ops.where(logs, values, 1.0)), values)
    outputs = model(keras.layers.Normalization(mean=scaler.mean[:-1], variance=scaler.std[:-1] ** 2)(values))
    if loss is Loss.binary_crossentropy:
        return keras.Model(inputs, keras.layers.Activation("sigmoid")(outputs))
    outputs = keras.layers.Rescaling(float(scaler.std[-1]), float(scaler.mean[-1]))(outputs)
    return keras.Model(inputs, keras.ops.exp(outputs) if target.log else outputs)
