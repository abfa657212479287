"""A logged model, called by MLflow, takes the rows of its source and returns predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from harness.tracking.model_saver import ModelSaver, RawModel

ROWS = pd.DataFrame(
    {"n": [3, 4], "x": [0.5, 1.5], "city": ["Ulm", "Bonn, West"], "day": ["02.01.1970", "04.01.1970"]}, index=[7, 5]
)
EXPECTED = [3 + 5 + 100 * 1 + 1000 * 1, 4 + 15 + 100 * 3 + 1000 * 2]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that computes n + 10 x + 100 days, plus 1000 for Ulm and 2000 for Bonn, West."""
    inputs = {name: keras.Input((1,), name=name, dtype="string" if name == "city" else "float32") for name in ROWS}
    names = keras.layers.StringLookup(vocabulary=["Ulm", "Bonn, West"])(inputs["city"])
    scaled = [
        inputs["n"],
        10.0 * inputs["x"],
        100.0 * inputs["day"],
        1000.0 * keras.ops.cast(names, "float32"),
    ]
    folder = tmp_path_factory.mktemp("model") / "model"
    example = {name: values.to_numpy() for name, values in ROWS.items()} | {"city": np.array(["Ulm", "Bonn, West"])}
    raw = RawModel(keras.Model(inputs, keras.layers.Add()(scaled)), example, ["y"], {"day": "%d.%m.%Y"})
    ModelSaver().save(folder, raw)
    return mlflow.pyfunc.load_model(str(folder))


def test_its_example_and_signature_are_true(loaded: Any) -> None:
    assert loaded.predict(loaded.input_example)["y"].tolist() == EXPECTED
    signature = loaded.metadata.signature
    kinds = {column.name: str(column.type) for column in signature.inputs}
    assert kinds == {"n": "Any", "x": "Any", "city": "DataType.string", "day": "Any"}
    assert [(column.name, str(column.type)) for column in signature.outputs] == [("y", "DataType.float")]


def test_rows_keep_their_index(loaded: Any) -> None:
    predictions = loaded.predict(ROWS)
    assert predictions.index.tolist() == [7, 5]
    assert predictions["y"].tolist() == EXPECTED
    assert loaded.predict(ROWS[:0])["y"].tolist() == []


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("n", ["3", "4.0"], EXPECTED),
        ("x", [None, 1.5], [np.nan, EXPECTED[1]]),
        ("city", [None, "Berlin"], [EXPECTED[0] - 1000, EXPECTED[1] - 2000]),
        ("day", pd.to_datetime(["1970-01-02", "1970-01-04"]), EXPECTED),
        ("day", [None, "04.01.1970"], [np.nan, EXPECTED[1]]),
    ],
)
def test_values_may_be_empty_or_of_another_type(loaded: Any, column: str, values: Any, expected: list[float]) -> None:
    given = ROWS.assign(**{column: values})
    np.testing.assert_array_equal(loaded.predict(given)["y"], expected)


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("n", ["many", 4], "n: 'many' is not a number"),
        ("day", ["02.01.1970", "1970-01-04"], "day: '1970-01-04' is not a date like %d.%m.%Y"),
        ("city", [1, 2], "Incompatible input types for column city"),
    ],
)
def test_values_of_another_kind_are_refused(loaded: Any, column: str, values: Any, sentence: str) -> None:
    with pytest.raises((ValueError, MlflowException), match=sentence):
        loaded.predict(ROWS.assign(**{column: values}))


def test_columns_may_be_arrays_and_lists(loaded: Any) -> None:
    columns = {name: values.to_numpy()[:, None] for name, values in ROWS.items()}
    assert loaded.predict(columns)["y"].tolist() == EXPECTED
    assert loaded.predict({name: values.tolist() for name, values in ROWS.items()})["y"].tolist() == EXPECTED


def test_arrays_are_given_as_tensors(tmp_path: Path) -> None:
    pixels = keras.Input((2, 3, 1), name="pixels", dtype="uint8")
    total = keras.ops.sum(keras.ops.cast(pixels, "float32"), axis=(1, 2))
    example = np.arange(12, dtype=np.uint8).reshape(2, 2, 3, 1)
    ModelSaver().save(tmp_path / "model", RawModel(keras.Model({"pixels": pixels}, total), {"pixels": example}, ["y"]))
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert loaded.predict({"pixels": example})["y"].tolist() == [15, 51]
    assert loaded.predict(loaded.input_example)["y"].tolist() == [15, 51]
