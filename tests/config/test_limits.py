"""Every number in a configuration has limits: what is accepted can be recorded, hashed and read again."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import Config, DataConfig, Loss, RuntimeConfig, TrackingConfig
from harness.config.limits import DEEPEST, LONGEST_TEXT, MOST_VALUES, check_values
from harness.errors import ConfigError
from harness.sweep.run_fields import config_yaml, run_params
from harness.tracking.frames import typed

SECTIONS = {"data": DataConfig, "tracking": TrackingConfig, "runtime": RuntimeConfig}
NUMBERS = ("int", "float", "int | None", "int | str | None")
KEYS = [field.name for field in dataclasses.fields(Config) if field.type in NUMBERS]
KEYS += [
    f"{name}.{field.name}"
    for name, kind in SECTIONS.items()
    for field in dataclasses.fields(kind)
    if field.type in NUMBERS
]
KEYS += ["model.init", "optimizer.beta_1"]
VALUES = (
    st.integers()
    | st.floats()
    | st.integers(1, 400).map(lambda power: 10**power)
    | st.integers(0, 80).map(lambda power: 2**power)
)


def config(key: str = "", value: object = None) -> Config:
    values: dict[str, dict[str, Any]] = {
        "": {"chunksize": 10, "learning_rate": 0.1, "epochs": 1, "seed": 0, "loss": Loss.mse},
        "data": {"features": ["a"], "target": "y"},
        "model": {"_target_": "harness.models.linear"},
        "optimizer": {"name": "adam"},
        "tracking": {},
        "runtime": {},
    }
    if key:
        section, _, name = key.rpartition(".")
        values[section][name] = value
    sections = {name: kind(**values[name]) for name, kind in SECTIONS.items()}
    return Config(**values[""], model=values["model"], optimizer=values["optimizer"], **sections)


def attempt(key: str, value: object) -> tuple[Config | None, str]:
    """Return the configuration, or the message that refuses it."""
    try:
        return config(key, value), ""
    except ConfigError as error:
        return None, str(error)


def test_all_numeric_keys_are_known() -> None:
    assert {"chunksize", "learning_rate", "epochs", "seed", "data.rows", "data.holdout", "data.split_seed"} < {*KEYS}
    assert {"data.test", "data.folds", "data.fold"} < {*KEYS}
    assert len(KEYS) == 22


@settings(max_examples=600, deadline=None)
@given(key=st.sampled_from(KEYS), value=VALUES)
def test_a_number_is_refused_in_a_sentence_or_can_be_recorded_and_read(key: str, value: float) -> None:
    found, refusal = attempt(key, value)
    if found is None:
        assert key in refusal
        assert refusal.endswith(".")
        assert len(refusal) < 300
        return
    json.dumps(found.flat(), allow_nan=False)
    assert config_yaml(found)
    recorded = {name: str(setting) for name, setting in run_params(found).items()}
    assert str(typed(pd.DataFrame([recorded, recorded]))[key].iloc[0])


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("chunksize", 2**64, "chunksize must be from 1 to 1000000000000000, not 18446744073709551616."),
        ("chunksize", True, "chunksize must be a positive number of rows or `full`, not True."),
        ("epochs", 10**10, "epochs must be from 1 to 1000000000, not 10000000000."),
        pytest.param(
            "seed", 10**5000, "seed must be in [0, 2**32), not a number with more than 4,300 digits.", id="seed"
        ),
        (
            "data.split_seed",
            10**22,
            "data.split_seed must be from -9223372036854775808 to 9223372036854775807, not 10000000000000000000000.",
        ),
        ("runtime.threads", None, "runtime.threads must be a whole number, not None."),
        ("runtime.lane_tile", 10**9, "runtime.lane_tile must be from 1 to 10000, not 1000000000."),
        ("tracking.wait", math.nan, "tracking.wait must be from 0 to 1e+09, not nan."),
        ("model.init", math.inf, "model.init must be a finite number of at most 64 bits, not inf."),
        (
            "model.units",
            [64, 2**64],
            "model.units must be a finite number of at most 64 bits, not 18446744073709551616.",
        ),
        (
            "optimizer.schedule",
            {"decay_steps": 10**30},
            "optimizer.schedule.decay_steps must be a finite number of at "
            "most 64 bits, not 1000000000000000000000000000000.",
        ),
    ],
)
def test_limits(key: str, value: object, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        config(key, value)
    assert str(error.value) == sentence


def test_groups_are_limited_in_size_and_depth() -> None:
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    many = [0] * 10
    for _ in range(30):
        many = [many, many]
    for values, sentence in (
        (deep, f"model is nested more than {DEEPEST} levels deep."),
        ([0] * 10**6, f"model has more than {MOST_VALUES:,} values."),
        (many, "model "),
        ("x" * 10**6, f"model.units is longer than {LONGEST_TEXT:,} characters."),
    ):
        with pytest.raises(ConfigError) as error:
            check_values("model", {"units": values})
        assert str(error.value).startswith(sentence)
