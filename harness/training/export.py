"""Exports a trained model that takes raw columns and returns predictions in the target's own units."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from harness.config import Scaling
from harness.config.keys import layer_name
from harness.data.images.backbone import load_backbone, load_example
from harness.data.scaler import Scaler
from harness.data.statistics import Column
from harness.data.tables.table import Table
from harness.training.encoding import Encoding
from harness.training.objective import Objective

EXAMPLE_ROWS = 3


def raw_model(
    model: keras.Model, table: Table, scaler: Scaler, objective: Objective, scaling: Scaling = Scaling.standard
) -> keras.Model:
    """Wrap `model` so that it computes logarithms and scales its inputs itself; `scaling` applies to images.

    Returns:
        A Keras model with one input `[rows, 1]` per feature, by column name, and one output, `[rows, outputs]`. It
        takes categories as raw text or numbers, and dates as days since 1970-01-01. Columns that were stored with an
        offset, because float32 is too coarse for them, are float64. An image is an input of its own type and shape,
        uint8 `[rows, height, width, channels]`; with `data.embed`, the frozen model is part of the returned one.
    """
    features = table.features
    kinds = ["uint8"] if table.embedding else [_kind(column) for column in features]
    shapes = [table.embedding.shape] if table.embedding else [column.shape or (1,) for column in features]
    inputs = {
        column.name: keras.Input(shape, name=layer_name(column.name), dtype=kind)
        for column, shape, kind in zip(features, shapes, kinds, strict=True)
    }
    # A nested model, because a layer may not have the name of another layer or of an input.
    graph = _graph(model, table, scaler, objective, kinds, Encoding.of(table, scaling))
    whole = keras.Model(*graph, name=_unlike("predictions", inputs))
    with warnings.catch_warnings(action="ignore"):  # Keras warns about inputs whose names differ from their columns'.
        return keras.Model(inputs, whole([*inputs.values()]))


def _graph(
    model: keras.Model, table: Table, scaler: Scaler, objective: Objective, kinds: Sequence[str], encoding: Encoding
) -> tuple[list[Any], Any]:
    """Return the raw features, in the table's order and of the given `kinds`, and the predictions from them."""
    features = table.features

    def predictions(values: Any) -> Any:
        outputs: Any = model(values)
        # Layers of a model that was trained with mixed precision keep it; units of the target need float32.
        exact = outputs if outputs.dtype == "float32" else keras.ops.cast(outputs, "float32")
        return objective.predictions(exact, scaler)

    if table.embedding:
        images = keras.Input(table.embedding.shape, name="feature_0", dtype="uint8")
        values = load_backbone(table)(images, training=False)
        return [images], predictions(_encoded(values, encoding))
    raw = [
        keras.Input(column.shape or (1,), name=f"feature_{index}", dtype=kind)
        for index, (column, kind) in enumerate(zip(features, kinds, strict=True))
    ]
    if features[0].shape:
        return raw, predictions(_encoded(raw[0], encoding))
    numbers = [index for index, column in enumerate(features) if not column.categories]
    scaled = _scaled([raw[index] for index in numbers], table, scaler, numbers) if numbers else []
    if len(numbers) < len(features):
        columns: Any = keras.ops.split(scaled, len(numbers), axis=1) if numbers else []
        given = dict(zip(numbers, columns, strict=True))
        encoded = [
            _one_hot(column, raw[index]) if column.categories else given[index] for index, column in enumerate(features)
        ]
        scaled = keras.layers.Concatenate()(encoded) if len(encoded) > 1 else encoded[0]
    return raw, predictions(scaled)


def _unlike(name: str, names: Iterable[str]) -> str:
    """Return `name`, changed if necessary so that it is not among `names`."""
    while name in names:
        name += "_"
    return name


def raw_example(table: Table, dates: Mapping[str, str | None] | None = None) -> dict[str, np.ndarray]:
    """Return the features of a few training rows as in the source, `[rows]` each: float64, text or images.

    `dates` holds the `strptime` formats of the features that are dates; None means ISO 8601.
    """
    if table.embedding:
        return {table.features[0].name: load_example(table.folder)}
    rows = table.read("train", 0, min(EXAMPLE_ROWS, table.train_rows))
    raw = {column.name: _raw(column, values) for column, values in zip(table.features, rows, strict=False)}
    return raw | {name: _dates(raw[name], form) for name, form in (dates or {}).items()}


def _raw(column: Column, values: np.ndarray) -> np.ndarray:
    if column.shape:
        return values
    if column.categories:
        known: Any = column.categories
        other = "" if column.is_text else 0.0
        return np.array([known[code - 1] if code else other for code in values.astype(int)])
    raw = column.own_units(values)
    # About six digits survive the rounding of the logarithm.
    return np.array([float(f"{value:.6g}") for value in raw]) if column.log else raw


def _dates(days: np.ndarray, form: str | None) -> np.ndarray:
    """Return days since 1970-01-01 as text."""
    times = pd.to_datetime(days, unit="D").round("s")
    default = "%Y-%m-%d" if (times == times.normalize()).all() else "%Y-%m-%dT%H:%M:%S"
    return times.strftime(form or default).to_numpy(str)


def _kind(column: Column) -> str:
    """Return the type of a feature in the exported model."""
    if column.shape:
        return column.dtype
    return "string" if column.is_text else "float64" if column.offset else "float32"


def _encoded(values: Any, encoding: Encoding) -> Any:
    """Return pixels in the form that the model expects, with the same arithmetic as `Encoding`."""
    offsets: Any = [-mean for mean in encoding.means]
    scales: Any = [1 / std for std in encoding.stds]
    return keras.layers.Rescaling(scales)(keras.layers.Rescaling(1.0, offsets)(values))


def _scaled(inputs: list[Any], table: Table, scaler: Scaler, indices: list[int]) -> Any:
    """Return numeric features in the form that the model expects, `[rows, len(indices)]`."""
    columns = [table.columns[index] for index in indices]
    is_wide = any(column.offset for column in columns)
    kind = "float64" if is_wide else "float32"
    values = keras.layers.Concatenate(dtype=kind)(inputs) if len(inputs) > 1 else inputs[0]
    logs = np.array([[column.log for column in columns]])
    if logs.any():
        values = keras.ops.where(logs, keras.ops.log(keras.ops.where(logs, values, 1.0)), values)
    if is_wide:
        # The value as stored in the table.
        offsets = np.array([[column.offset for column in columns]])
        values = keras.ops.cast(keras.ops.subtract(values, offsets), "float32")
    if table.filled:
        # Empty fields are filled as in training.
        means = np.array([[column.mean - column.offset for column in columns]], np.float32)
        values = keras.ops.where(keras.ops.isnan(values), means, values)
    # A Normalization layer would raise standard deviations below 1e-7 to 1e-7.
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
