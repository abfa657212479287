"""Imports that need special handling: TensorFlow, and the user's own models."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.errors import ConfigError, require
from harness.runtime.environment import environment
from harness.runtime.keras_settings import use_default_settings
from harness.runtime.onednn import ONEDNN
from harness.runtime.own_modules import explain


def import_tensorflow() -> None:
    """Import TensorFlow, and Keras with the TensorFlow backend and default settings, without their log messages.

    Raises:
        ConfigError: Keras has already been imported with another backend, or its own settings are invalid.
    """
    settings = {
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
        # Without oneDNN, convolutions that XLA does not compile take twice as long.
        ONEDNN: os.environ.get(ONEDNN, "1"),
        "KERAS_BACKEND": "tensorflow",
    }
    # All three variables are read during the import.
    with environment(**settings), silent_stderr():
        try:
            import keras
            import tensorflow as tf
        except Exception as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ConfigError(
                f"TensorFlow and Keras cannot be imported ({reason}). "
                "If a Keras setting is the cause, correct or remove keras.json."
            ) from error
    tf.get_logger().setLevel("ERROR")
    backend = keras.config.backend()
    require(backend == "tensorflow", f"Keras is already imported with the {backend} backend; harness needs tensorflow.")
    use_default_settings()


def add_cwd_to_path() -> None:
    """Make models in the working folder importable; installed packages take precedence."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def find_target(name: str, key: str = "model._target_") -> Callable:
    """Return the function named by a `key` of the configuration.

    Raises:
        ConfigError: The function does not exist.
    """
    module, _, attribute = name.rpartition(".")
    try:
        target = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        # The module is the user's and may fail in any way.
        text = f"{key}: cannot import {name!r} ({explain(error)}). Give the dotted name of a function."
        raise ConfigError(text) from error
    require(callable(target), f"{key}: {name} is not a function.")
    return target


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard output to file descriptor 2, to which TensorFlow logs before its log level takes effect."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Python's own stderr may be missing or closed.
        sys.stderr.flush()
    try:
        terminal = os.dup(2)
    except OSError:
        yield
        return
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
