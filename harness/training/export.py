"""Exports a trained model for use elsewhere: raw columns in, predictions in the target's own units out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.config.keys import layer_name
from harness.data.scaler import Scaler
from harness.data.statistics import Column
from harness.data.table import Table
from harness.training.objective import Objective

EXAMPLE_ROWS = 3


def raw_model(model: keras.Model, table: Table, scaler: Scaler, objective: Objective) -> keras.Model:
    """Wrap `model` so that it takes logarithms and scales by itself.

    Returns:
        A Keras model with one input `[rows, 1]` per feature, by column name, and an output with a column for each of
        the objective's `prediction_names`. It takes categories as raw text or numbers, and dates as days since
        1970-01-01. Columns that were stored with an offset, because float32 is too coarse for them, are float64.
    """
    features = table.features
    kinds = ["string" if column.is_text else _number_type(column) for column in features]
    inputs = {
        column.name: keras.Input((1,), name=layer_name(column.name), dtype=kind)
        for column, kind in zip(features, kinds, strict=True)
    }
    # A model of its own, because no layer may have the name of another one or of an input.
    whole = keras.Model(*_graph(model, table, scaler, objective, kinds), name=_unlike("predictions", inputs))
    kind = TextModel if any(column.is_text or column.offset for column in features) else keras.Model
    with warnings.catch_warnings(action="ignore"):  # Of inputs whose names differ from those of their columns.
        return kind(inputs, whole([*inputs.values()]))


def _graph(
    model: keras.Model, table: Table, scaler: Scaler, objective: Objective, kinds: Sequence[str]
) -> tuple[list[Any], Any]:
    """Return raw features, each `[rows, 1]` and of one of `kinds`, in the table's order, and predictions from them."""
    features = table.features
    raw = [keras.Input((1,), name=f"feature_{index}", dtype=kind) for index, kind in enumerate(kinds)]
    numbers = [index for index, column in enumerate(features) if not column.categories]
    scaled = _scaled([raw[index] for index in numbers], table, scaler, numbers) if numbers else []
    if len(numbers) < len(features):
        columns: Any = keras.ops.split(scaled, len(numbers), axis=1) if numbers else []
        given = dict(zip(numbers, columns, strict=True))
        encoded = [
            _one_hot(column, raw[index]) if column.categories else given[index] for index, column in enumerate(features)
        ]
        scaled = keras.layers.Concatenate()(encoded) if len(encoded) > 1 else encoded[0]
    return raw, objective.predictions(model(scaled), scaler)


def _unlike(name: str, names: Iterable[str]) -> str:
    """Return a name that is not among `names`, if possible `name`."""
    while name in names:
        name += "_"
    return name


@keras.saving.register_keras_serializable("harness")
class TextModel(keras.Model):
    """A model that accepts text as NumPy arrays, which MLflow passes but Keras by itself rejects, and keeps float64."""

    def predict(self, x: dict[str, np.ndarray], batch_size: int | None = None, **options: Any) -> np.ndarray:
        """Like `keras.Model.predict`, for columns `[rows, 1]`."""
        inputs: Any = self.input
        tensors: Any = {
            name: tf.constant(values, tf.string if values.dtype.kind in "UO" else tf.as_dtype(inputs[name].dtype))
            for name, values in x.items()
        }
        # Keras would round float64 tensors, but leaves the batches of a dataset as they are.
        rows = tf.data.Dataset.from_tensor_slices(tensors).batch(batch_size or 32)
        return super().predict(rows, **options)


def raw_example(table: Table) -> dict[str, np.ndarray]:
    """Return the features of a few training rows in the form that `raw_model` takes: float64 or text, `[rows, 1]`."""
    rows = table.read("train", 0, min(EXAMPLE_ROWS, table.train_rows))
    return {column.name: _raw(column, values)[:, None] for column, values in zip(table.features, rows, strict=False)}


def _raw(column: Column, values: np.ndarray) -> np.ndarray:
    if column.categories:
        known: Any = column.categories
        other = "" if column.is_text else 0.0
        return np.array([known[code - 1] if code else other for code in values.astype(int)])
    return column.own_units(values)


def _number_type(column: Column) -> str:
    return "float64" if column.offset else "float32"


def _scaled(inputs: list[Any], table: Table, scaler: Scaler, indices: list[int]) -> Any:
    """Return numeric features in the form that the model takes, `[rows, len(indices)]`."""
    columns = [table.columns[index] for index in indices]
    is_wide = any(column.offset for column in columns)
    kind = "float64" if is_wide else "float32"
    values = keras.layers.Concatenate(dtype=kind)(inputs) if len(inputs) > 1 else inputs[0]
    logs = np.array([[column.log for column in columns]])
    if logs.any():
        values = keras.ops.where(logs, keras.ops.log(keras.ops.where(logs, values, 1.0)), values)
    if is_wide:
        # As the table stores it.
        offsets = np.array([[column.offset for column in columns]])
        values = keras.ops.cast(keras.ops.subtract(values, offsets), "float32")
    # Not a Normalization layer, which raises standard deviations below 1e-7 to 1e-7.
    values = keras.layers.Rescaling(1.0, (-scaler.stored_mean[indices]).tolist())(values)
    return keras.layers.Rescaling((1 / scaler.std[indices]).tolist())(values)


def _one_hot(column: Column, values: Any) -> Any:
    """Encode a categorical feature as `harness.training.encoding` does, `[rows, categories + 1]`."""
    if column.is_text:
        # Index 0 is the unknown category in both encodings.
        words: Any = list(column.categories)
        return keras.layers.StringLookup(vocabulary=words, oov_token=_unlike("[UNK]", words), output_mode="one_hot")(
            values
        )
    known: Any = keras.ops.cast(keras.ops.equal(values, np.array([column.categories], np.float32)), "float32")
    others = 1.0 - keras.ops.sum(known, axis=1, keepdims=True)  # pyright: ignore[reportOperatorIssue]
    return keras.layers.Concatenate()([others, known])
