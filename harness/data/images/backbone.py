"""The frozen model of `data.embed`: builds it, fingerprints it, and stores it in a table for the exported models."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config.images import TARGET, WEIGHTS
from harness.data.storage.local import LocalFile
from harness.data.tables.manifest import Embedding
from harness.data.tables.pages import DamagedTable
from harness.errors import ConfigError, require
from harness.runtime.imports import add_cwd_to_path, find_target, import_tensorflow
from harness.runtime.model_values import count_weights, require_memory_for
from harness.runtime.own_modules import source_digest
from harness.runtime.state_files import StateError, checksum_file, read_state, write_state

if TYPE_CHECKING:
    import keras

    from harness.data.tables.table import Table

FILE = "backbone.keras"
EXAMPLE = "example.pixels"
EXAMPLE_KIND = "example images 1"
KEY = f"data.embed.{TARGET}"
APPLICATIONS = {"weights": None, "include_top": False, "pooling": "avg"}
"""Arguments without which the functions in `keras.applications` would download weights, or classify."""


def fingerprint_of(embed: Mapping[str, Any], weights: str) -> list[object]:
    """Return a fingerprint of the file `weights`, of the function's source and of the libraries that run the model."""
    add_cwd_to_path()
    module = embed[TARGET].rpartition(".")[0]
    source = "" if module.split(".")[0] in ("keras", "harness") else source_digest(module)
    versions = f"keras {version('keras')}, tensorflow {version('tensorflow')}"
    return [*LocalFile(weights).fingerprint(), source, versions]


def build_backbone(embed: Mapping[str, Any], weights: str, shape: tuple[int, int, int]) -> keras.Model:
    """Build the model, load its weights, and make it take pixels, uint8 `[images, *shape]`.

    Raises:
        ConfigError: The model cannot be built, its weights do not fit into memory or belong to another model, or its
            output is not `[images, values]`.
    """
    import_tensorflow()
    add_cwd_to_path()
    import keras

    target = embed[TARGET]
    function = find_target(target, KEY)
    arguments = {key: value for key, value in embed.items() if key not in (TARGET, WEIGHTS)}
    is_application = target.startswith("keras.applications.")
    if is_application:
        known = inspect.signature(function).parameters
        arguments = {key: value for key, value in APPLICATIONS.items() if key in known} | arguments

    def built() -> Any:
        return function(input_shape=shape, **arguments) if is_application else function(shape, **arguments)

    _require_memory(built)
    model = _called(target, built)
    require(isinstance(model, keras.Model), f"{KEY}: {target} must return a Keras model, not {type(model).__name__}.")
    _load_weights(model, target, weights)
    model.trainable = False
    prepare = getattr(sys.modules[function.__module__], "preprocess_input", None) if is_application else None

    def wrapped() -> keras.Model:
        images = keras.Input(shape, dtype="uint8", name="pixels")
        values: Any = keras.layers.Rescaling(1.0)(images)
        return keras.Model(images, model(prepare(values) if prepare else values, training=False))

    whole = _called(target, wrapped)
    outputs: Any = whole.output
    form = [tuple(each.shape) for each in outputs] if isinstance(outputs, list) else tuple(outputs.shape)
    is_row = len(form) == 2 and isinstance(form[1], int)
    require(is_row, f"{KEY}: {target} returns {form}, not [images, values]. End it with a pooling layer or Flatten.")
    whole.trainable = False
    return whole


def keep_backbone(model: keras.Model, target: str, folder: Path) -> Embedding:
    """Write the model into a table's folder.

    Raises:
        ConfigError: The model cannot be loaded without its own code, which exported models would not have.
    """
    import keras

    path = folder / FILE
    foreign = sorted({type(each).__name__ for each in _layers(model) if not type(each).__module__.startswith("keras.")})
    require(not foreign, f"{KEY}: {target} has layers that exported models could not load: {', '.join(foreign)}.")
    try:
        model.save(path)
        keras.models.load_model(path, compile=False, safe_mode=True)
    except OSError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{KEY}: {target} cannot be saved and loaded without its own code ({_short(error)}). Use Keras layers."
        ) from error
    shape: Any = tuple(model.inputs[0].shape[1:])
    return Embedding(_digest(model), checksum_file(path), shape)


def load_backbone(table: Table) -> keras.Model:
    """Return the model stored with a table.

    Raises:
        DamagedTable: The file is missing, or differs from what was written.
    """
    import keras

    path = table.folder / FILE
    try:
        is_same = table.embedding is not None and checksum_file(path) == table.embedding.checksum
    except (FileNotFoundError, StateError):
        is_same = False
    if not is_same:
        raise DamagedTable(table.folder, f"{FILE} is missing or was changed")
    model: Any = keras.models.load_model(path, compile=False, safe_mode=True)
    model.trainable = False
    return model


def keep_example(folder: Path, pixels: np.ndarray) -> None:
    """Store a few images, uint8 `[images, height, width, channels]`, as example inputs of exported models."""
    file = io.BytesIO()
    np.save(file, pixels, allow_pickle=False)
    write_state(folder / EXAMPLE, EXAMPLE_KIND, file.getvalue())


def load_example(folder: Path) -> np.ndarray:
    """Return the images stored by `keep_example`.

    Raises:
        DamagedTable: The images are missing or damaged.
    """
    try:
        return np.load(io.BytesIO(read_state(folder / EXAMPLE, EXAMPLE_KIND)), allow_pickle=False)
    except (FileNotFoundError, StateError) as error:
        raise DamagedTable(folder, f"{EXAMPLE} is missing or was changed") from error


def _require_memory(build: Callable[[], keras.Model]) -> None:
    try:
        weights = count_weights(build)
    except Exception:
        return  # Building the model raises the same error again, and handles it.
    # Saving the model also loads it again.
    require_memory_for(weights, 2, "data.embed", "Use a smaller model.")


def _called(target: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"data.embed: {target} cannot be built ({_short(error)}).") from error


def _load_weights(model: keras.Model, target: str, weights: str) -> None:
    try:
        model.load_weights(weights)
    except Exception as error:
        raise ConfigError(f"data.embed.weights: {weights} does not match {target} ({_short(error)}).") from error


def _short(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
    return text if len(text) <= 200 else f"{text[:200]}..."


def _digest(model: keras.Model) -> str:
    """Hash a model's architecture and weights, ignoring names that Keras numbers within a process."""
    architecture = json.loads(model.to_json())
    names: dict[str, str] = {}

    def find(value: Any) -> None:
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            find(each)
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            names.setdefault(value["name"], f"name {len(names)}")

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        return names.get(value, value) if isinstance(value, str) else value

    find(architecture)
    found = hashlib.blake2b(json.dumps(plain(architecture), sort_keys=True).encode(), digest_size=16)
    for values in model.get_weights():
        found.update(f"{values.dtype} {values.shape} ".encode() + np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _layers(layer: Any) -> list[Any]:
    return [layer, *(inner for each in getattr(layer, "layers", []) for inner in _layers(each))]
