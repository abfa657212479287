"""The exported model equals its formula, computed in float64."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest

from harness.config import Loss, Scaling
from harness.data.scaler import Scaler
from harness.data.statistics import Column
from harness.data.tables.table import Table
from harness.models import linear, mlp
from harness.training.export import raw_model
from tests.helpers import objective
from tests.tables import table_without_files

ROWS = 5


def make_table(features: Sequence[str], logs: Sequence[str] = (), std: float = 2.5) -> Table:
    """A table without rows; for columns in `logs`, the statistics are those of their logarithms."""
    columns = tuple(
        Column(name, name in logs, ROWS, mean=1.5 + index, std=std * (1 + index), min=0, max=9)
        for index, name in enumerate([*features, "target"])
    )
    return table_without_files(columns, ROWS)


def trained_linear(features: int) -> keras.Model:
    model = linear(features)
    model.set_weights([np.arange(1, features + 1, dtype=np.float32)[:, None] / 8, np.array([0.25], np.float32)])
    return model


def raw_columns(features: Sequence[str], scale: float = 1.0) -> dict[str, np.ndarray]:
    return {
        name: np.float32(scale * (np.arange(1, ROWS + 1)[:, None] + index / 4)) for index, name in enumerate(features)
    }


def expected(columns: dict[str, np.ndarray], table: Table, scaler: Scaler, *, labels: bool = False) -> np.ndarray:
    values = np.concatenate([*columns.values()], axis=1).astype(np.float64)
    logs = np.array([column.log for column in table.columns[:-1]])
    values[:, logs] = np.log(values[:, logs])
    outputs = (values - scaler.mean[:-1]) / scaler.std[:-1] @ (np.arange(1, values.shape[1] + 1) / 8) + 0.25
    if labels:
        return (1 / (1 + np.exp(-outputs)))[:, None]
    outputs = outputs * scaler.std[-1] + scaler.mean[-1]
    return (np.exp(outputs) if table.columns[-1].log else outputs)[:, None]


def saved_and_loaded(model: keras.Model, folder: Path) -> keras.Model:
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras", safe_mode=True)


@pytest.mark.parametrize(
    ("features", "logs", "scaling"),
    list(itertools.product([["a"], ["z", "a", "m"]], [[], ["a"], ["target"], ["a", "target"]], Scaling)),
)
def test_raw_columns_in_and_own_units_out(
    features: list[str], logs: list[str], scaling: Scaling, tmp_path: Path
) -> None:
    table = make_table(features, logs)
    scaler = Scaler.of(table, scaling)
    model = raw_model(trained_linear(len(features)), table, scaler, objective(table=table))
    columns = raw_columns(features)
    predictions = model(columns).numpy()
    assert predictions.shape == (ROWS, 1)
    np.testing.assert_allclose(predictions, expected(columns, table, scaler), rtol=1e-5)
    again = saved_and_loaded(model, tmp_path)
    np.testing.assert_array_equal(again(columns).numpy(), predictions)
    # Columns are found by name, not by position.
    turned = dict(reversed(columns.items()))
    np.testing.assert_array_equal(again(turned).numpy(), predictions)


@pytest.mark.parametrize(
    "features",
    [["living area"], ["a.b"], ["a/b"], ["/"], ["größe (m²)"], ["1"], ["-x"], ["a/b", "a b", "a.b"], ["x", "x_1"]],
    ids=" ".join,
)
def test_columns_of_any_name(features: list[str], tmp_path: Path) -> None:
    table = make_table(features)
    scaler = Scaler.of(table, Scaling.standard)
    columns = raw_columns(features)
    model = raw_model(trained_linear(len(features)), table, scaler, objective(table=table))
    with warnings.catch_warnings():
        # A tensor's name cannot contain a slash, and Keras warns on loading that it differs from the input's.
        warnings.filterwarnings("ignore", "When providing `inputs` as a dict", UserWarning)
        again = saved_and_loaded(model, tmp_path)
    for found in (model, again):
        np.testing.assert_allclose(found(columns).numpy(), expected(columns, table, scaler), rtol=1e-5)


@pytest.mark.parametrize("std", [1e-9, 1e-4, 1e6])
def test_columns_of_any_scale(std: float, tmp_path: Path) -> None:
    columns = tuple(Column(name, False, ROWS, mean=3 * std, std=std, min=0, max=9) for name in ("a", "b", "target"))
    table = table_without_files(columns, ROWS)
    scaler = Scaler.of(table, Scaling.standard)
    raw = raw_columns(["a", "b"], scale=std)
    model = saved_and_loaded(raw_model(trained_linear(2), table, scaler, objective(table=table)), tmp_path)
    np.testing.assert_allclose(model(raw).numpy(), expected(raw, table, scaler), rtol=1e-5)


def test_labels_are_given_as_probabilities_and_are_not_scaled(tmp_path: Path) -> None:
    table = make_table(["a", "b"])
    scaler = Scaler.of(table, Scaling.standard, scale_target=False)
    columns = raw_columns(["a", "b"])
    model = saved_and_loaded(
        raw_model(trained_linear(2), table, scaler, objective(Loss.binary_crossentropy, table)), tmp_path
    )
    predictions = model(columns).numpy()
    assert ((predictions > 0) & (predictions < 1)).all()
    np.testing.assert_allclose(predictions, expected(columns, table, scaler, labels=True), rtol=1e-5)


def test_the_trained_model_stays_as_it_was() -> None:
    table = make_table(["a", "b"], ["a"])
    trained = mlp(2, units=[3])
    before = trained.get_weights()
    inputs = np.ones((2, 2), np.float32)
    outputs = trained(inputs).numpy()
    raw_model(trained, table, Scaler.of(table, Scaling.standard), objective(table=table))
    assert all(np.array_equal(a, b) for a, b in zip(trained.get_weights(), before, strict=True))
    np.testing.assert_array_equal(trained(inputs).numpy(), outputs)
