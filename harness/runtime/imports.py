"""How packages come in: TensorFlow in silence and without what nothing here needs, and models of the user's own."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, require

NOT_NEEDED = ("sklearn", "jax")
"""What Keras, for `keras.wrappers`, and TensorFlow Lite import if it is installed; it takes a second or two."""


def import_tensorflow() -> None:
    """Import TensorFlow, and Keras on it, without notes on the terminal and without `NOT_NEEDED`.

    Those can be imported afterwards, but `keras.wrappers` of this process does without scikit-learn.

    Raises:
        ConfigError: Keras has been imported before, on something else.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # Whatever it is for other programs.
    sys.stderr.flush()
    terminal = os.dup(2)
    with Path(os.devnull).open("w") as nowhere, _hidden(() if "tensorflow" in sys.modules else NOT_NEEDED):
        os.dup2(nowhere.fileno(), 2)
        try:
            import tensorflow as tf
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
    tf.get_logger().setLevel("ERROR")
    backend = tf.keras.backend.backend()
    require(backend == "tensorflow", "harness expected Keras on tensorflow", backend, "Unset KERAS_BACKEND.")


def add_cwd_to_path() -> None:
    """Let Python find a model of the user's own in the working folder, after all else."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def find_target(name: str) -> Callable:
    """Return the function that `model._target_` names.

    Raises:
        ConfigError: There is no such function.
    """
    module, _, attribute = name.rpartition(".")
    try:
        target = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        # The module is the user's, and may fail in any way.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"model._target_ expected the dotted name of a function. Received: {name!r} ({reason})."
        ) from error
    require(callable(target), "model._target_ expected a function", name)
    return target


@contextlib.contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Have packages that are not imported yet be as if they were not installed, inside the block."""
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in names if name not in modules]
    modules |= dict.fromkeys(hidden)  # None there makes an import fail.
    try:
        yield
    finally:
        for name in hidden:
            modules.pop(name, None)
