"""Every check of the schema: its whole message, and edge cases that are allowed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from harness.config import (
    Config,
    DataConfig,
    Loss,
    Missing,
    ObjectiveConfig,
    RuntimeConfig,
    Scaling,
    TrackingConfig,
    flatten,
)
from harness.config.objective import CLASSES_LOSS
from harness.errors import ConfigError, require
from harness.tracking.uri import tracking_uri


def data(**changes: Any) -> DataConfig:
    return DataConfig(**({"features": ["a", "b"], "target": "y"} | changes))


def config(**changes: Any) -> Config:
    values = {"chunksize": 100, "learning_rate": 0.01, "epochs": 5, "seed": 0, "loss": Loss.mse, "data": data()}
    values |= {"model": {"_target_": "harness.models.linear", "init": 0.1}, "optimizer": {"name": "adam"}}
    return Config(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"features": []}, "data.features is empty; name at least one column."),
        ({"target": ""}, "data.target is empty; name a column."),
        ({"target": ["y", 1.5]}, "data.target must be a column's name or a list of these, not ['y', 1.5]."),
        ({"weight": "y"}, "data.weight must name a column that is neither a feature nor a target, not 'y'."),
        ({"classes": ["u"]}, "data.classes names only one class; name at least two."),
        ({"classes": ["u", "v", "u"]}, "data.classes names u more than once."),
        (
            {"class_weight": "equal"},
            "data.class_weight must be `balanced` or a weight for each label, such as {spam: 5}, not equal.",
        ),
        ({"class_weight": {"u": -1}}, "data.class_weight: the weight of u must be from 0 to 1e+30, not -1."),
        ({"target": "a"}, "data.features and data.target name a more than once."),
        ({"features": ["a", "a"]}, "data.features and data.target name a more than once."),
        (
            {"log_columns": ["a", "z"]},
            "data.log_columns: z not in data.features and data.target (a, b, y).",
        ),
        ({"categorical": ["z"]}, "data.categorical: z not in data.features and data.target (a, b, y)."),
        ({"holdout": 1.0}, "data.holdout must be a fraction in [0, 1), not 1.0."),
        ({"holdout": -0.1}, "data.holdout must be a fraction in [0, 1), not -0.1."),
        ({"holdout": math.nan}, "data.holdout must be a fraction in [0, 1), not nan."),
        ({"rows": 0}, "data.rows must be positive, not 0."),
        ({"encoding": "rot13"}, "data.encoding: Python has no encoding rot13."),
        *(
            (
                {key: mark},
                f"data.{key} must be one ASCII character that is not a letter, digit, sign or quote: {mark!r}.",
            )
            for key, mark in (("delimiter", "1"), ("delimiter", ""), ("decimal", "-"), ("delimiter", '"'))
        ),
        ({"delimiter": ",", "decimal": ","}, "data.decimal and data.delimiter are both ','."),
        (
            {"categorical": ["a"], "log_columns": ["a"]},
            "a: only one of data.categorical, data.dates and data.log_columns may name a column.",
        ),
        ({"path": []}, "data.path must be an address, a pattern, or a list of these, not []."),
    ],
)
def test_data_refuses(changes: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        data(**changes)
    assert str(error.value) == sentence


@pytest.mark.parametrize("name", ["block_rows", "lane_tile", "threads", "workers"])
@pytest.mark.parametrize("value", [0, -1])
def test_runtime_refuses(name: str, value: int) -> None:
    with pytest.raises(ConfigError) as error:
        RuntimeConfig(**{name: value})
    assert str(error.value) == f"runtime.{name} must be positive, not {value}."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        *(
            ({"chunksize": value}, f"chunksize must be a positive number of rows or `full`, not {value}.")
            for value in (0, -1, "all", "100", 1.5)
        ),
        *(
            ({"learning_rate": value}, f"learning_rate must be positive and representable in float32, not {value}.")
            for value in (0.0, -0.1, 3e38, math.inf, math.nan)
        ),
        ({"epochs": 0}, "epochs must be positive, not 0."),
        ({"seed": -1}, "seed must be in [0, 2**32), not -1."),
        ({"seed": 2**32}, "seed must be in [0, 2**32), not 4294967296."),
        (
            {"model": {"init": 0.1}},
            "model._target_ must name a function. Set it, or choose a model from conf/model.",
        ),
        (
            {"loss": Loss.binary_crossentropy, "data": data(log_columns=["y"])},
            "loss=binary_crossentropy needs labels 0 and 1: remove the target from data.log_columns.",
        ),
        (
            {"loss": CLASSES_LOSS, "data": data(dates=["y"])},
            f"loss={CLASSES_LOSS.value} needs a label: remove the target from data.dates.",
        ),
        (
            {"loss": CLASSES_LOSS, "data": data(target=["y", "z"])},
            f"loss={CLASSES_LOSS.value} needs one target, but data.target names 2.",
        ),
        (
            {"data": data(categorical=["y"])},
            f"data.categorical names the target y: set loss={CLASSES_LOSS.value} for classes.",
        ),
        ({"data": data(classes=["u", "v"])}, f"data.classes needs loss={CLASSES_LOSS.value}, not loss=mse."),
        ({"data": data(class_weight="balanced")}, "data.class_weight needs labels, but loss=mse predicts numbers."),
        (
            {"objective": ObjectiveConfig(delta=2)},
            "objective.delta is a parameter of loss=huber, not of loss=mse.",
        ),
        (
            {"objective": ObjectiveConfig(label_smoothing=0.1)},
            "objective.label_smoothing is a parameter of the crossentropies, not of loss=mse.",
        ),
    ],
)
def test_config_refuses(changes: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        config(**changes)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"chunksize": 1, "epochs": 1, "seed": 2**32 - 1, "learning_rate": 1e-30},
        {"loss": Loss.binary_crossentropy, "data": data(log_columns=["a", "b"])},
        {"loss": CLASSES_LOSS, "data": data(categorical=["y"], classes=["u", "v"], class_weight={1: 2})},
        {"data": data(target=["y", "z"], log_columns=["z"], weight="w")},
        {"data": data(holdout=0.0, rows=1, split_seed=-1, log_columns=["y", "a"])},
        {"runtime": RuntimeConfig(block_rows=1, lane_tile=1, threads=1, workers=1)},
    ],
)
def test_edge_cases_are_allowed(changes: dict) -> None:
    found = config(**changes)
    assert {name: getattr(found, name) for name in changes} == changes


def test_defaults_of_the_data() -> None:
    found = data()
    assert (found.path, found.rows, found.origin, found.log_columns) == (None, None, None, [])
    assert (found.scaling, found.missing) == (Scaling.standard, Missing.error)
    assert (found.holdout, found.split_seed) == (0.2, 0)
    assert found.columns == ["a", "b", "y"]


def test_each_date_can_have_a_format() -> None:
    dates = {"dates": ["b", "a"], "date_format": ["%Y", None]}
    assert data(**dates).date_formats == {"a": None, "b": "%Y"}
    assert data(**dates) == data(dates=["a", "b"], date_format=[None, "%Y"])
    assert data(dates=["b", "a"], date_format=["%Y", "%Y"]).date_format == "%Y"
    with pytest.raises(ConfigError, match=r"has 1 formats, but data.dates has 2: give one for each, or one for all\."):
        data(dates=["a", "b"], date_format=["%Y"])
    with pytest.raises(ConfigError, match=r"must be a strptime format or a list of these, not 3\."):
        data(dates=["a"], date_format=3)


@pytest.mark.parametrize(
    ("chunksize", "is_full", "rows"),
    [(1, False, 1), (7, False, 7), (8, False, 8), (9, False, 8), ("full", True, 8), (None, True, 8)],
)
def test_the_rows_of_a_chunk(chunksize: int | str | None, is_full: bool, rows: int) -> None:
    found = config(chunksize=chunksize)
    assert (found.is_full, found.chunk_rows(8)) == (is_full, rows)


def test_flat_values() -> None:
    found = config(chunksize=None, data=data(path="f.csv"), tracking=TrackingConfig(experiment="question")).flat()
    some = {"chunksize": "full", "loss": "mse", "data.features": ["a", "b"], "data.path": "f.csv", "model.init": 0.1}
    some |= {"data.scaling": "standard", "tracking.experiment": "question", "tracking.tags": {}, "runtime.gram": True}
    assert found | some == found
    assert not [key for key in found if key.startswith("search")]
    assert config(chunksize=10).flat()["chunksize"] == 10


def test_flatten_recurses_and_keeps_empty_mappings() -> None:
    nested = {"a": {"b": {"c": 1}, "d": {}}, "e": Loss.mae, "f": [{"g": 2}]}
    assert flatten(nested) == {"a.b.c": 1, "a.d": {}, "e": "mae", "f": [{"g": 2}]}


def test_require() -> None:
    require(True, "x must be 1.")
    with pytest.raises(ConfigError, match=r"^x must be 1\.$"):
        require(False, "x must be 1.")


@pytest.mark.parametrize(
    ("given", "environment", "found"),
    [
        (None, None, "sqlite:///{cwd}/mlflow.db"),
        (None, "http://host:5000", "http://host:5000"),
        ("", "http://host:5000", "http://host:5000"),
        ("sqlite:///a/b.db", "http://host:5000", "sqlite:///{cwd}/a/b.db"),
        (None, "sqlite:///b.db", "sqlite:///{cwd}/b.db"),
        ("sqlite:////a/b.db", None, "sqlite:////a/b.db"),
        ("postgresql://user@host/db", None, "postgresql://user@host/db"),
        ("databricks", None, "databricks"),
    ],
)
def test_the_tracking_uri_in_force(
    given: str | None, environment: str | None, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if environment:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
    assert tracking_uri(given) == found.format(cwd=tmp_path)
