"""Whatever columns and categories are called, a run records every weight, and its logged model finds every column."""

from __future__ import annotations

import warnings
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient
from rich.console import Console

from harness.cli.predict import load
from harness.config import LogModel
from harness.config.keys import fitted
from harness.data.statistics import input_keys
from harness.sweep.display import Display
from harness.sweep.plan import Run
from harness.sweep.runner import train
from tests.sweep.folders import config

ROWS = 600
NUMBERS = [
    *("a<30", "a>30", "a+b", "a*b", "a/b", "a|b", "a//b", "a/", "/a", ".", "..", "a", "A", "a:x3c:30"),
    *("where/north", "where/other", "é", "e\u0301", "größe (€)", "x" * 260 + "1", "x" * 260 + "2"),
    *("sum", "split", "where", "concatenate", "rescaling", "predictions", "feature_0", "linear"),
]
TEXTS = {"where": ["north", "other", "N/B", "N", "n", "é", "e\u0301", "a b", "a<b", "a>b"]}
CODES = {"code": [1234567, 1234568, 16777215, 7]}


def frame(*categorical: str) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    columns = {name: draw.normal(size=ROWS).round(3) for name in NUMBERS if name not in categorical}
    words = TEXTS | CODES
    columns |= {name: draw.choice(np.array(words[name], dtype=object), ROWS) for name in categorical}
    target = sum((1 + index) * draw.normal(size=ROWS) for index in range(3))
    return pd.DataFrame(columns | {"y": target})


def trained(folder: Path, data: pd.DataFrame, *categorical: str) -> tuple[Run, MlflowClient]:
    data.to_csv(folder / "some.csv", index=False)
    features = [name for name in data if name != "y"]
    columns, tracking = {"features": features, "categorical": list(categorical)}, {"log_model": LogModel.all}
    wide = config(folder, 50, 0.05, 3, data=columns, tracking=tracking)
    (run,) = train([wide], Display(Console(file=StringIO())), command="harness train")
    return run, MlflowClient(f"sqlite:///{folder}/mlflow.db")


@pytest.mark.parametrize("categorical", [(), ("where", "code")], ids=["numbers", "categories"])
@pytest.mark.slow
def test_every_weight_is_recorded_and_belongs_to_its_column(categorical: tuple[str, ...], tmp_path: Path) -> None:
    data = frame(*categorical)
    run, client = trained(tmp_path, data, *categorical)
    record = client.get_run(run.run_id)
    assert "model_not_logged" not in record.data.tags
    keys = [fitted(f"weight/{key}") for key in input_keys(run.table.features)]
    assert {key for key in record.data.metrics if key.startswith("weight/")} == {*keys}
    assert len({*keys}) == len(keys) == len(run.table.inputs)
    weights = iter([record.data.metrics[key] for key in keys])
    expected = np.full(ROWS, record.data.metrics["intercept"])
    for column in run.table.features:
        if column.categories:
            by_category = dict(zip([None, *column.categories], weights, strict=False))
            expected += [by_category[value] for value in data[column.name]]
        else:
            expected += next(weights) * data[column.name].to_numpy()
    assert next(weights, None) is None

    (model,) = record.outputs.model_outputs
    location = client.get_logged_model(model.model_id).artifact_location
    (path,) = Path(download_artifacts(location, dst_path=str(tmp_path))).rglob("*.keras")
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "When providing `inputs` as a dict", UserWarning
        )  # Some names contain slashes.
        loaded = load(path)
    raw = {
        column.name: tf.constant(data[column.name].to_numpy(object if column.is_text else "float32")[:, None])
        for column in run.table.features
    }
    np.testing.assert_allclose(np.ravel(loaded.predict(raw, verbose=0)), expected, rtol=1e-4, atol=1e-4)
    names = {column.name for column in run.table.features}
    assert {*loaded.input} == names
