"""A model with the user's own layers is stored with their code, or rejected with a one-line message."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from harness.cli.saved_model import load
from harness.errors import ConfigError
from harness.runtime import own_modules
from harness.tracking import artifacts
from harness.tracking.model_saver import ModelSaver, RawModel
from harness.tracking.own_code import OwnCode, check_own_code, own_code

FACTORS = "FACTOR = 3.0\n"
LAYERS = """
import keras, sklearn
from own_package.factors import FACTOR
class Times(keras.layers.Layer):
    def call(self, values):
        return FACTOR * values
def doubled(values):
    return 2.0 * values
@keras.saving.register_keras_serializable("mine")
def squared(values):
    return values * values
def build_model(inputs, activation=doubled, layer=None):
    dense = keras.layers.Dense(1, activation=activation, kernel_initializer="ones")
    return keras.Sequential([keras.Input((inputs,)), layer() if layer else Times(), dense])
def inner():
    class Inner(keras.layers.Layer):
        def call(self, values):
            return values
    return Inner()
def nested():
    def doubled(values):
        return 5.0 * values
    return doubled
"""
OTHERS = """
import keras
from own_package import layers
class Times(keras.layers.Layer):
    def call(self, values):
        return 7.0 * values
@keras.saving.register_keras_serializable("others")
def doubled(values):
    return 0.0 * values
def build_model(inputs, both=False, activation=doubled):
    dense = keras.layers.Dense(1, activation=activation, kernel_initializer="ones")
    return keras.Sequential([keras.Input((inputs,)), Times(), *([layers.Times()] if both else []), dense])
"""
ELSEWHERE = """
import sys, importlib.util, mlflow
assert importlib.util.find_spec("own_package") is None
model = mlflow.pyfunc.load_model(sys.argv[1])
print(model.predict(model.input_example)["y"].tolist())
"""


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A user's package, as if it were in the working folder."""
    folder = tmp_path / "work" / "own_package"
    folder.mkdir(parents=True)
    for name, text in {"__init__": "", "factors": FACTORS, "layers": LAYERS, "others": OTHERS, "unused": ""}.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder.parent)
    yield importlib.import_module("own_package.layers")
    for name in [each for each in sys.modules if each.partition(".")[0] == "own_package"]:
        del sys.modules[name]
    keras.saving.get_custom_objects().clear()


def saved(folder: Path, layers: Any, **options: Any) -> OwnCode:
    inputs = keras.Input((1,), name="x")
    outputs = layers.build_model(1, **options)(inputs)
    target = f"{layers.__name__}.build_model"
    raw = RawModel(keras.Model({"x": inputs}, outputs), {"x": np.array([1.0, 2.0])}, ["y"], target=target)
    return ModelSaver().save(folder, raw)


def test_a_model_is_stored_with_the_modules_of_its_layers(tmp_path: Path, layers: Any) -> None:
    code = saved(tmp_path / "model", layers)
    assert code.objects == {"Times": "own_package.layers:Times", "doubled": "own_package.layers:doubled"}
    assert not code.needs_harness
    stored = sorted(path.name for path in (tmp_path / "model" / "code").rglob("*.py"))
    assert stored == ["__init__.py", "factors.py", "layers.py"]
    names = [line.partition("==")[0] for line in (tmp_path / "model" / "requirements.txt").read_text().splitlines()]
    assert names == ["mlflow", "tensorflow", "keras", "pandas", "numpy", "scikit-learn"]
    file = tmp_path / "model" / "artifacts" / "model.keras"
    places = artifacts.places(artifacts.described(file))
    assert places == code.objects
    with pytest.raises(
        ConfigError, match=r"is not part of Keras: own_package\.layers\.Times, .* Add --trust to run it"
    ):
        load(file, places)
    model = load(file, places, is_trusted=True)
    assert np.asarray(model({"x": np.array([[1.0], [2.0]])})).ravel().tolist() == [6.0, 12.0]


@pytest.mark.slow
def test_it_loads_where_the_modules_are_not(tmp_path: Path, layers: Any) -> None:
    saved(tmp_path / "model", layers, activation=layers.squared)
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "model")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[9.0, 36.0]\n", done.stderr


def test_models_that_could_not_be_loaded_again_are_refused(tmp_path: Path, layers: Any) -> None:
    with pytest.raises(ConfigError, match="could not be loaded again, because it uses Inner of own_package"):
        saved(tmp_path / "inner", layers, layer=layers.inner)
    with pytest.raises(ConfigError, match="could not be loaded again: Could not interpret activation function"):
        saved(tmp_path / "lambda", layers, activation=lambda values: values)


def test_a_name_that_two_of_them_have_is_refused_or_told_apart(tmp_path: Path, layers: Any) -> None:
    others = importlib.import_module("own_package.others")
    with pytest.raises(
        ConfigError, match=r"because doubled could refer to own_package\.layers\.doubled or own_package\.others\.dou"
    ):
        saved(tmp_path / "function", others, activation=layers.doubled)
    with pytest.raises(
        ConfigError, match=r"because Times could refer to own_package\.layers\.Times or own_package\.others\.Times"
    ):
        saved(tmp_path / "class", others, both=True, activation=None)
    with pytest.raises(
        ConfigError, match=r"would compute different values .* has the same name as .*own_package\.layers\.doubled"
    ):
        saved(tmp_path / "nested", layers, activation=layers.nested())
    assert saved(tmp_path / "registered", others).objects["others>doubled"] == "own_package.others:doubled"


def test_layers_of_an_installed_package_are_required_instead_of_stored(
    tmp_path: Path, layers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(layers.__file__).parent.parent
    installed = own_modules._installed() | {folder.resolve()}
    monkeypatch.setattr(own_modules, "_installed", lambda: installed)
    (folder / "own_package-1.2.dist-info").mkdir()
    for name, text in {"METADATA": "Name: own-package\nVersion: 1.2\n", "top_level.txt": "own_package\n"}.items():
        (folder / "own_package-1.2.dist-info" / name).write_text(text)
    layers.build_model(1).save(tmp_path / "model.keras")
    code = own_code(tmp_path / "model.keras", "own_package.layers.build_model")
    assert (code.modules, code.packages) == ({}, ("own-package==1.2",))
    assert code.objects == {"Times": "own_package.layers:Times", "doubled": "own_package.layers:doubled"}


def test_a_model_is_checked_before_its_weights_are_allocated(layers: Any) -> None:
    def wide(layer: Any) -> keras.Model:
        return keras.Sequential([keras.Input((10**6,)), keras.layers.Dense(10**6), layer])

    check_own_code(lambda: wide(layers.Times()), "own_package.layers.build_model")
    with pytest.raises(ConfigError, match="could not be loaded again, because it uses Inner of own_package"):
        check_own_code(lambda: wide(layers.inner()), "own_package.layers.build_model")
    with pytest.raises(ConfigError, match="could not be loaded again: "):
        check_own_code(lambda: wide(keras.layers.Lambda(lambda values: values)), "own_package.layers.build_model")


def test_layers_that_import_the_harness_are_known(tmp_path: Path, layers: Any) -> None:
    path = Path(layers.__file__)
    path.write_text(f"from harness.models import mlp\n{path.read_text()}")
    assert saved(tmp_path / "model", layers).needs_harness
