"""Loads a logged model, which may come from someone else, within limits."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from harness.errors import ConfigError, require
from harness.formatting import memory
from harness.runtime.imports import import_tensorflow
from harness.runtime.model_values import row_values

if TYPE_CHECKING:
    import keras

MOST_COMPRESSED = 20
"""Maximum ratio of a model's size to that of its file; weights hardly compress at all."""

BATCH_BYTES = 256 << 20
"""Memory for the values that a model computes at once."""


def load(path: Path) -> keras.Model:
    """Load a Keras model without running code that is stored in it.

    Raises:
        ConfigError: The model contains code or an unknown layer, or is larger than its file.
    """
    import_tensorflow()
    import keras

    from harness.training.model_size import count_weights

    try:
        configuration = _configuration(path)
        weights = count_weights(lambda: keras.saving.deserialize_keras_object(configuration, safe_mode=True))
        # Otherwise its weights would be allocated, and missing in the file.
        size = path.stat().st_size
        require(weights <= size, f"its {weights:,} weights do not fit into a file of {size:,} bytes")
        model: Any = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(f"The run's model cannot be loaded safely: {reason}.") from error
    return model


def rows_per_batch(model: keras.Model) -> int:
    """Return how many rows to predict at once.

    Raises:
        ConfigError: There is not enough memory for one row.
    """
    row_bytes, available = 4 * row_values(model), psutil.virtual_memory().available
    require(
        row_bytes <= available,
        f"The run's model needs {memory(row_bytes / 1e6)} for one row, but {memory(available / 1e6)} are available.",
    )
    return max(1, BATCH_BYTES // row_bytes)


def _configuration(path: Path) -> Any:
    """Return the layers and their settings as plain values."""
    with zipfile.ZipFile(path) as file:
        size = sum(entry.file_size for entry in file.infolist())
        require(size <= MOST_COMPRESSED * path.stat().st_size, f"it unpacks to {size:,} bytes")
        return json.loads(file.read("config.json"))
