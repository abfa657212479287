"""Scores raw rows with a logged model. MLflow stores this file with each model, so it does not import the harness."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

BATCH_ROWS = 4096
MILLISECONDS_A_DAY = 86_400_000


class RawColumns(PythonModel):
    """Takes columns as in the source, and returns predictions in the target's own units.

    The model's configuration contains `dates`, the `strptime` format of each feature that is a date (None means ISO
    8601), `outputs`, the names of the columns to return, and `objects`, the user's own layers as `MODULE:NAME`.
    """

    def load_context(self, context: Any) -> None:
        """Load the Keras model, and the user's own layers and functions that it uses."""
        places = {name: place.partition(":") for name, place in context.model_config["objects"].items()}
        objects = {name: getattr(importlib.import_module(module), own) for name, (module, _, own) in places.items()}
        with warnings.catch_warnings():
            # This warning is about features with names that are not allowed for tensors.
            warnings.filterwarnings("ignore", "When providing `inputs` as a dict", UserWarning)
            model: Any = keras.models.load_model(context.artifacts["model"], objects, compile=False)
        self._model, self._inputs = model, model.input
        self._dates: Mapping[str, str | None] = context.model_config["dates"]
        self._outputs: list[str] = context.model_config["outputs"]

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Return a data frame with a row of predictions for each row.

        Args:
            context: Not used.
            model_input: A data frame or a dictionary of arrays, with a column for each feature. Dates are text, or
                times without a time zone. Empty text counts as an unknown category.
            params: Not used.

        Raises:
            ValueError: A feature is missing, or a value is not of the feature's kind.
        """
        missing = [name for name in self._inputs if name not in model_input]
        if missing:
            raise ValueError(f"The model needs the columns {', '.join(self._inputs)}; missing: {', '.join(missing)}.")
        inputs = {name: self._input(name, _flat(model_input[name])) for name in self._inputs}
        rows = len(next(iter(inputs.values())))
        found = [np.zeros((0, len(self._outputs)))]
        for start in range(0, rows, BATCH_ROWS):
            some = {name: values[start : start + BATCH_ROWS] for name, values in inputs.items()}
            found.append(np.asarray(self._model(some, training=False)))
        index = model_input.index if isinstance(model_input, pd.DataFrame) and len(model_input) == rows else None
        return pd.DataFrame(np.concatenate(found[1:] or found), columns=self._outputs, index=index)

    def _input(self, name: str, values: Any) -> Any:
        """Return a column as a tensor `[rows, 1]`, or `[rows, *shape]` for arrays."""
        spec = self._inputs[name]
        if len(spec.shape) > 2:
            return tf.constant(np.asarray(values), spec.dtype)
        if spec.dtype == "string":
            words = pd.Series(values, dtype=object)
            return tf.constant(words.where(words.notna(), "").astype(str).to_numpy(object)[:, None], tf.string)
        numbers = self._days(name, pd.Series(values)) if name in self._dates else _numbers(name, pd.Series(values))
        return tf.constant(numbers[:, None], spec.dtype)

    def _days(self, name: str, values: pd.Series) -> np.ndarray:
        """Return dates as days since 1970-01-01."""
        form = self._dates[name]
        text = values if pd.api.types.is_datetime64_any_dtype(values) else values.astype("string")
        times = pd.to_datetime(text, format=form or "ISO8601", errors="coerce", utc=True)
        if (times.isna() & values.notna()).any():
            wrong = values[times.isna() & values.notna()].iloc[0]
            raise ValueError(f"{name}: {wrong!r} is not a date {f'like {form}' if form else 'in ISO 8601 format'}.")
        days = times.dt.as_unit("ms").astype("int64") / MILLISECONDS_A_DAY
        return days.where(times.notna(), np.nan).to_numpy(float)


def _flat(values: Any) -> Any:
    """Return one value per row for columns that arrive as `[rows, 1]`, or with a list in each cell."""
    first = values.iloc[0] if isinstance(values, pd.Series) and len(values) else None
    if isinstance(first, list | np.ndarray):
        values = np.concatenate([np.atleast_1d(value) for value in values])
    return values[:, 0] if getattr(values, "ndim", 1) == 2 and values.shape[1] == 1 else values


def _numbers(name: str, values: pd.Series) -> np.ndarray:
    try:
        return values.to_numpy(float, na_value=np.nan)
    except (TypeError, ValueError):
        numbers = pd.to_numeric(values, errors="coerce")
        wrong = values[numbers.isna() & values.notna()]
        raise ValueError(f"{name}: {wrong.iloc[0]!r} is not a number.") from None


set_model(RawColumns())
