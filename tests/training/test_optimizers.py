"""Each optimizer, stacked in a compiled loop, gives the same updates as Keras's own on a single model."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml

from harness.config import DataConfig, Scaling
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.errors import ConfigError
from harness.models import mlp
from harness.training._compat_keras import stateless
from harness.training.optimizers import OPTIMIZERS, SCHEDULES, check_settings
from tests.conftest import ROOT
from tests.helpers import lane, recipe, train
from tests.reference import eager_keras
from tests.tables import rows

SETTINGS = [
    {"name": "adamw", "weight_decay": 0.1},
    {"name": "rmsprop", "momentum": 0.9, "centered": True},
    {"name": "sgd", "momentum": 0.9},
    {"name": "adam", "schedule": {"name": "cosine_decay", "decay_steps": 30, "alpha": 0.1, "warmup_target": None}},
]
MORE_SETTINGS = [
    *({"name": name} for name in OPTIMIZERS if name not in ("adamw", "rmsprop")),
    {"name": "adam", "beta_1": 0.5, "amsgrad": True},
    {"name": "sgd", "momentum": 0.9, "nesterov": True},
    {"name": "adam", "clipnorm": 0.1},
    {"name": "adam", "global_clipnorm": 0.1, "weight_decay": 0.1},
    {"name": "sgd", "clipvalue": 0.01},
    {"name": "adam", "schedule": {"name": "cosine_decay_restarts", "first_decay_steps": 7}},
    {"name": "adam", "schedule": {"name": "exponential_decay", "decay_steps": 9, "decay_rate": 0.5, "staircase": True}},
    {"name": "sgd", "schedule": {"name": "inverse_time_decay", "decay_steps": 9, "decay_rate": 0.5}},
    {"name": "sgd", "schedule": {"name": "polynomial_decay", "decay_steps": 30, "end_learning_rate": 0.2}},
]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(203, 3)), columns=["a", "b", "y"])
    frame.to_csv(folder / "some.csv", index=False)
    return open_table(DataConfig(["a", "b"], "y", str(folder / "some.csv"), holdout=0.0), folder)


@pytest.mark.parametrize(
    "settings", [*SETTINGS, *(pytest.param(settings, marks=pytest.mark.slow) for settings in MORE_SETTINGS)], ids=str
)
def test_stacked_equals_single(table, settings):
    rates = (0.003, 0.03)
    scaler = Scaler.of(table, Scaling.none)
    kind = recipe(lambda inputs: mlp(inputs, units=[8]), settings)
    found = train([lane(10, rate, (2,), recipe_=kind) for rate in rates], table, scaler)
    values = rows(table)
    for rate, history in zip(rates, found, strict=True):
        keras.utils.set_random_seed(0)
        learning_rate = rate
        arguments = {key: value for key, value in settings.items() if key not in ("name", "schedule")}
        if "schedule" in settings:
            options = {key: value for key, value in settings["schedule"].items() if key != "name"}
            if "end_learning_rate" in options:
                options["end_learning_rate"] *= rate
            learning_rate = SCHEDULES[settings["schedule"]["name"]](rate, **options)
        plain = eager_keras(
            lambda: ((values[i : i + 10, :-1], values[i : i + 10, -1]) for i in range(0, len(values), 10)),
            mlp(2, units=[8]),
            OPTIMIZERS[settings["name"]](learning_rate, **arguments),
            keras.losses.mean_squared_error,
            2,
        )
        for value, expected in zip(history.weights[2], plain.weights[-1], strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


# Nadam overrides a method that the adapter restores.
@pytest.mark.parametrize("kind", [keras.optimizers.SGD, keras.optimizers.Nadam])
def test_the_adapter_is_needed_equals_apply_and_leaves_keras_alone(kind):
    variable, gradient = keras.Variable([1.0, 2.0]), tf.constant([0.5, -0.25])
    plain, pure = kind(0.1), stateless(kind)(0.1)
    pure.build([variable])
    for _ in range(3):
        weights, after = pure.stateless_apply([each.value for each in pure.variables], [gradient], [variable.value])
        plain.apply([gradient], [variable])
        np.testing.assert_allclose(weights[0], variable.value, rtol=1e-6)
        for each, value in zip(pure.variables, after, strict=True):
            each.assign(value)
    with pytest.raises(ValueError, match="stateless_apply is not supported"):
        plain.stateless_apply([each.value for each in plain.variables], [gradient], [variable.value])


def test_every_optimizer_has_a_file_of_its_own_settings():
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf/optimizer").glob("*.yaml")}
    assert set(files) == set(OPTIMIZERS)
    for name, settings in files.items():
        check_settings(settings)
        kind = inspect.signature(OPTIMIZERS[name]).parameters
        changed = {key for key in settings if key in kind and settings[key] != kind[key].default}
        assert (settings["name"], changed - {"name"}) == (name, {"momentum"} if name == "sgd" else set())


def test_every_schedule_is_tested():
    assert {settings["schedule"]["name"] for settings in [*SETTINGS, *MORE_SETTINGS] if "schedule" in settings} == set(
        SCHEDULES
    )


@pytest.mark.parametrize(
    "key", ["momentun", "gradient_accumulation_steps", "use_ema", "loss_scale_factor", "learning_rate"]
)
def test_unknown_settings_are_refused(key):
    with pytest.raises(ConfigError, match=rf"optimizer: sgd has no setting {key}. Its settings: momentum, nesterov"):
        check_settings({"name": "sgd", key: 2})


def test_a_whole_number_is_a_float_and_values_that_keras_rejects_are_refused():
    check_settings({"name": "sgd", "momentum": 0})
    with pytest.raises(ConfigError, match=r"^optimizer: Keras rejects the settings of sgd \(.*momentum.*\)\.$"):
        check_settings({"name": "sgd", "momentum": 2})
    with pytest.raises(ConfigError, match=r"Keras rejects the settings of sgd"):
        check_settings({"name": "sgd", "schedule": {"name": "cosine_decay", "decay_steps": 0}})


@pytest.mark.parametrize("settings", [{"name": "adem"}, {"name": "loss_scale"}, {}])
def test_unknown_optimizers_are_refused(settings):
    name = settings.get("name")
    with pytest.raises(ConfigError, match=rf"optimizer.name: {name} is not one of adadelta, .*, rmsprop, sgd\."):
        check_settings(settings)


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        ("cosine_decay", r"optimizer.schedule: write cosine_decay in the form {name: cosine_decay, decay_steps: 1000}"),
        ({"name": "cosine"}, r"optimizer.schedule.name: cosine is not one of cosine_decay, "),
        (
            {"name": "cosine_decay"},
            r"cosine_decay needs decay_steps. Add \+optimizer.schedule.decay_steps=VALUE.",
        ),
        (
            {"name": "cosine_decay", "decay_step": 3},
            r"has no setting decay_step. Its settings: decay_steps, alpha",
        ),
    ],
)
def test_bad_schedules_are_refused(schedule, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_settings({"name": "sgd", "schedule": schedule})
