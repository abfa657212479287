"""Loads a logged model, which may come from someone else, within limits."""

from __future__ import annotations

import importlib
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import psutil

from harness.errors import ConfigError, require
from harness.formatting import data_size
from harness.runtime.imports import import_tensorflow
from harness.runtime.model_values import count_weights, row_values
from harness.tracking.own_code import innermost

if TYPE_CHECKING:
    import keras

MOST_COMPRESSED = 20
"""Maximum ratio of a model's size to its file's size; weights barely compress."""

BATCH_BYTES = 256 << 20
"""Memory for the values that a model computes at once."""


def load(path: Path, places: Mapping[str, str] = MappingProxyType({}), *, is_trusted: bool = False) -> keras.Model:
    """Load a Keras model, without running code from outside Keras unless it is trusted.

    Args:
        path: The `.keras` file of a downloaded model.
        places: Other layers and functions, in modules that are stored with the model or installed, as `MODULE:NAME`.
        is_trusted: Whether these modules may be imported.

    Raises:
        ConfigError: The model contains code or an unknown layer, or is larger than its file.
    """
    own = ", ".join(place.replace(":", ".") for place in places.values())
    sentence = f"The run's model uses code that is not part of Keras: {own}. Add --trust to run it."
    require(not places or is_trusted, sentence)
    import_tensorflow()
    import keras

    try:
        configuration = _configuration(path)
        keras.saving.get_custom_objects().update(_imported(places, path))
        weights = count_weights(lambda: keras.saving.deserialize_keras_object(configuration, safe_mode=True))
        # Otherwise, weights that the file does not contain would be allocated.
        size = path.stat().st_size
        require(weights <= size, f"its {weights:,} weights do not fit into a file of {size:,} bytes")
        model: Any = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ConfigError(f"The run's model cannot be loaded safely: {innermost(error)}.") from error
    return model


def _imported(places: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Import layers and functions from modules that are stored with a model or installed."""
    if places:
        root = next(folder for folder in path.parents if (folder / "MLmodel").is_file())
        sys.path.insert(0, str(root / "code"))
    parts = {key: place.partition(":") for key, place in places.items()}
    return {key: getattr(importlib.import_module(module), name) for key, (module, _, name) in parts.items()}


def rows_per_batch(model: keras.Model) -> int:
    """Return how many rows to predict at once.

    Raises:
        ConfigError: There is not enough memory for one row.
    """
    row_bytes, available = 4 * row_values(model), psutil.virtual_memory().available
    require(
        row_bytes <= available,
        f"The run's model needs {data_size(row_bytes)} for one row, but only {data_size(available)} is available.",
    )
    return max(1, BATCH_BYTES // row_bytes)


def _configuration(path: Path) -> Any:
    """Return the layers and their settings as plain values."""
    with zipfile.ZipFile(path) as file:
        size = sum(entry.file_size for entry in file.infolist())
        require(size <= MOST_COMPRESSED * path.stat().st_size, f"it unpacks to {size:,} bytes")
        return json.loads(file.read("config.json"))
