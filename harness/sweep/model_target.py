"""The function that `model._target_` names, and its arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from harness.errors import ConfigError
from harness.runtime.imports import find_target


def model_builder(model: Mapping[str, Any]) -> Callable[[int], keras.Model]:
    """Return the function that builds `model` for a number of inputs."""
    return functools.partial(find_target(model["_target_"]), **_arguments(model))


def check_model(model: Mapping[str, Any]) -> None:
    """Raise `ConfigError` unless the function exists and takes the arguments given; nothing is built."""
    signature = inspect.signature(find_target(model["_target_"]))
    try:
        signature.bind(1, **_arguments(model))
    except TypeError as error:
        known = ", ".join([*signature.parameters][1:])
        raise ConfigError(
            f"model: {model['_target_']} cannot be called with the arguments {sorted(_arguments(model))}: {error}. "
            f"{f'It takes {known}.' if known else 'It takes only the number of inputs.'}"
        ) from error


def _arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "_target_"}
