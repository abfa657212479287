"""A model with layers of the user's own is stored with their code, or refused in a sentence."""

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
from harness.tracking import artifacts
from harness.tracking.model_saver import ModelSaver, RawModel
from harness.tracking.own_code import OwnCode

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
"""
ELSEWHERE = """
import sys, importlib.util, mlflow
assert importlib.util.find_spec("own_package") is None
model = mlflow.pyfunc.load_model(sys.argv[1])
print(model.predict(model.input_example)["y"].tolist())
"""


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package of the user's own, as if it were in the working folder."""
    folder = tmp_path / "work" / "own_package"
    folder.mkdir(parents=True)
    for name, text in {"__init__": "", "factors": FACTORS, "layers": LAYERS, "unused": ""}.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder.parent)
    yield importlib.import_module("own_package.layers")
    for name in [each for each in sys.modules if each.partition(".")[0] == "own_package"]:
        del sys.modules[name]
    keras.saving.get_custom_objects().clear()


def saved(folder: Path, layers: Any, **options: Any) -> OwnCode:
    inputs = keras.Input((1,), name="x")
    outputs = layers.build_model(1, **options)(inputs)
    raw = RawModel(
        keras.Model({"x": inputs}, outputs), {"x": np.array([1.0, 2.0])}, ["y"], target="own_package.layers.build_model"
    )
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
    with pytest.raises(ConfigError, match=r"stored with it: own_package\.layers\.Times, .* Add --trust to run it"):
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
    with pytest.raises(ConfigError, match="could not be loaded again, as it uses Inner of own_package"):
        saved(tmp_path / "inner", layers, layer=layers.inner)
    with pytest.raises(ConfigError, match="could not be loaded again: Could not interpret activation function"):
        saved(tmp_path / "lambda", layers, activation=lambda values: values)


def test_layers_that_import_the_harness_are_known(tmp_path: Path, layers: Any) -> None:
    path = Path(layers.__file__)
    path.write_text(f"from harness.models import mlp\n{path.read_text()}")
    assert saved(tmp_path / "model", layers).needs_harness
