"""TensorFlow is imported silently, with the right backend, and the environment stays unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from harness.errors import ConfigError
from harness.runtime.environment import environment
from harness.runtime.imports import import_tensorflow

SETTINGS = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")
IMPORT = """
import os
before = dict(os.environ)
from harness.runtime.imports import import_tensorflow
import_tensorflow()
assert dict(os.environ) == before
import keras
os.write(1, keras.backend.backend().encode())
"""


def python(code: str, *, close_stderr: bool = False, **given: str) -> subprocess.CompletedProcess:
    """Run `code` in a new process."""
    command = [sys.executable, "-c", code]
    if close_stderr:
        command = ["sh", "-c", 'exec "$0" "$@" 2>&-', *command]
    values = {name: value for name, value in os.environ.items() if name not in SETTINGS} | given
    return subprocess.run(command, env=values, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    ("close_stderr", "given"), [(False, {"KERAS_BACKEND": "jax"}), (True, {})], ids=["another backend", "no stderr"]
)
@pytest.mark.slow
def test_tensorflow_is_imported_silently_and_the_environment_stays(close_stderr: bool, given: dict[str, str]) -> None:
    done = python(IMPORT, close_stderr=close_stderr, **given)
    assert (done.stdout, done.stderr) == ("tensorflow", "")


SETTINGS_IN_USE = """
from harness.errors import ConfigError
from harness.runtime.imports import import_tensorflow
try:
    import_tensorflow()
except ConfigError as error:
    print(error)
else:
    import keras, threading
    config = keras.config
    print(config.backend(), config.floatx(), config.epsilon(), config.image_data_format(), config.dtype_policy().name)
"""
ODD = '{"floatx": "float64", "epsilon": 0.001, "image_data_format": "channels_first", "backend": "jax"}'
REFUSED = "TensorFlow and Keras cannot be imported ({}). If a Keras setting is the cause, correct or remove keras.json."


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (ODD, "tensorflow float32 1e-07 channels_last float32"),
        ("{not JSON", "tensorflow float32 1e-07 channels_last float32"),
        (
            '{"floatx": "float8"}',
            REFUSED.format(
                "Invalid `floatx` configuration. Expected one of {'float16', 'float32', 'float64'}. "
                "Received: floatx=float8"
            ),
        ),
        ("[]", REFUSED.format("'list' object has no attribute 'get'")),
    ],
)
@pytest.mark.slow
def test_keras_settings_are_ignored(tmp_path: Path, content: str, found: str) -> None:
    (tmp_path / "keras.json").write_text(content)
    done = python(SETTINGS_IN_USE, KERAS_HOME=str(tmp_path))
    assert done.stdout.rstrip("\n").startswith(found.partition("Expected one of")[0])


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(ConfigError, match="already imported with the torch backend"):
        import_tensorflow()


def test_the_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN", "before")
    monkeypatch.delenv("ABSENT", raising=False)
    with environment(GIVEN="inside", ABSENT="inside"):
        assert os.environ["GIVEN"] == os.environ["ABSENT"] == "inside"
    assert os.environ["GIVEN"] == "before"
    assert "ABSENT" not in os.environ
