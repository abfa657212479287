"""Finds what a saved Keras model needs besides Keras: the user's own classes and functions, and their modules."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import ConfigError, require
from harness.runtime.model_values import count_weights
from harness.runtime.own_modules import imported_packages, is_installed, own_modules

if TYPE_CHECKING:
    import keras

_LONGEST = 400
"""Maximum number of characters to show of Keras's reasons."""


@dataclass(frozen=True)
class OwnCode:
    """Code that a model needs.

    Attributes:
        objects: Layers and functions by the name under which Keras looks them up, as `MODULE:NAME`.
        modules: The files to store with the model, by module name: those of the objects' modules, except installed
            packages, and of all the user's own modules that these import.
        packages: Installed packages that define layers of the model, or that the modules import, as requirements.
        needs_harness: Whether the modules import the harness, so that the model cannot be loaded without it.
    """

    objects: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, Path] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    needs_harness: bool = False

    def write(self, folder: Path) -> list[str]:
        """Copy the modules into `folder`, and return its top-level paths."""
        for name, source in self.modules.items():
            path = folder.joinpath(*name.split("."))
            is_package = source.name == "__init__.py"
            target = path / source.name if is_package else path.with_name(path.name + source.suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        return sorted(map(str, folder.iterdir())) if self.modules else []


def own_code(model: Path, target: str) -> OwnCode:
    """Return the code that a saved model needs.

    Args:
        model: The `.keras` file.
        target: The function that built the model; functions that Keras records only by name are looked up in its
            modules.

    Raises:
        ConfigError: The model could not be loaded again, because a layer or function is not at the top level of a
            module, or shares its name with another one.
    """
    with zipfile.ZipFile(model) as file:
        objects = _objects(json.loads(file.read("config.json")), target)
    if not objects:
        return OwnCode()
    names = {place.partition(":")[0] for place in objects.values()}
    distributions = importlib.metadata.packages_distributions()
    installed = {each for each in names if is_installed(each) and each.partition(".")[0] in distributions}
    modules: dict[str, Path] = {}
    for each in names - installed:
        modules |= own_modules(each)
    packages = imported_packages(modules.values()) | {each.partition(".")[0] for each in installed}
    required = {name for package in packages for name in distributions.get(package, ())} - {"harness"}
    pinned = tuple(f"{name}=={importlib.metadata.version(name)}" for name in sorted(required))
    return OwnCode(objects, modules, pinned, "harness" in packages)


def check_own_code(build: Callable[[], keras.Model], target: str) -> None:
    """Reject a model that could not be loaded again, before its weights are allocated.

    Args:
        build: Returns the model; its errors are raised here.
        target: As in `own_code`.

    Raises:
        ConfigError: See `own_code`.
    """
    import keras

    configurations: list[Any] = []

    def described() -> keras.Model:
        model = build()
        with warnings.catch_warnings(action="ignore"):  # What Keras warns about is rejected.
            configurations.append(keras.saving.serialize_keras_object(model))
        return model

    count_weights(described)
    _objects(configurations[0], target)


def require_same(model: keras.Model, path: Path, objects: Mapping[str, str], example: Mapping[str, np.ndarray]) -> None:
    """Reject a model that computes different values after being reloaded, since Keras finds its functions by name.

    Models that return random values are not compared.

    Args:
        model: Takes a dictionary of features.
        path: The file that it was saved to.
        objects: As in `OwnCode`.
        example: Rows of each feature that the model takes as a number or text.

    Raises:
        ConfigError: A value differs.
    """
    import keras

    with warnings.catch_warnings(action="ignore"):  # Inputs may have other names than their columns.
        again: Any = keras.models.load_model(path, _imported(objects), compile=False, safe_mode=True)
        inputs = _inputs(model, example)
        first, second, loaded = (np.asarray(each(inputs, training=False)) for each in (model, model, again))
    is_random = not np.array_equal(first, second, equal_nan=True)
    names = " or ".join(place.replace(":", ".") for place in objects.values())
    require(
        is_random or np.allclose(first, loaded, rtol=1e-4, equal_nan=True),
        "it would compute different values after being reloaded, because other code that it uses has the same name as "
        f"{names}. Rename one of them.",
    )


def _inputs(model: Any, example: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return rows in the form that a model expects, `[rows, *shape]`; features without an example are 1 or empty."""
    import tensorflow as tf

    rows = max(map(len, example.values()), default=1)

    def tensor(name: str, feature: Any) -> Any:
        is_text = feature.dtype == "string"
        values = example.get(name)
        if values is None or (values.dtype.kind in "UO") != is_text:
            values = np.full((rows, *feature.shape[1:]), "" if is_text else 1)
        return tf.cast(tf.constant(values.reshape(rows, *feature.shape[1:])), feature.dtype)

    return {name: tensor(name, feature) for name, feature in model.input.items()}


def _objects(configuration: Any, target: str) -> dict[str, str]:
    """Return `OwnCode.objects` of a model with this configuration."""
    around = own_modules(target.rpartition(".")[0])
    objects: dict[str, str] = {}
    for key, module, name in _described(configuration):
        place = _place(key, module, name, around)
        _require_one(name, {objects.setdefault(key, place), place})
    if target.partition(".")[0] not in ("harness", ""):
        _require_loadable(configuration, objects)
    return objects


def _require_loadable(configuration: Any, objects: Mapping[str, str]) -> None:
    import keras

    own = _imported(objects)
    try:
        count_weights(lambda: keras.saving.deserialize_keras_object(configuration, own, safe_mode=True))
    except Exception as error:
        raise ConfigError(f"it could not be loaded again: {innermost(error)}.") from error


def _require_one(name: str, places: Collection[str]) -> None:
    several = " or ".join(place.replace(":", ".") for place in sorted(places))
    require(
        len(places) < 2,
        f"it could not be loaded again, because {name} could refer to {several}. Rename one of them, or register "
        "the one that the model uses with keras.saving.register_keras_serializable(PACKAGE).",
    )


def _imported(objects: Mapping[str, str]) -> dict[str, Any]:
    parts = {key: place.partition(":") for key, place in objects.items()}
    return {key: getattr(sys.modules[module], name) for key, (module, _, name) in parts.items()}


def innermost(error: Exception) -> str:
    """Return the reason why Keras cannot load a model.

    Keras wraps the error of a layer in the errors of the models around it, each with its whole configuration.
    """
    text = str(error).rpartition("Exception encountered: ")[2].partition("Full object config: ")[0]
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _described(values: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the key, module and name of all objects that are not Keras's own; functions have no module."""
    if isinstance(values, list):
        for each in values:
            yield from _described(each)
    elif isinstance(values, dict):
        kind, module = values.get("class_name"), values.get("module") or ""
        if kind == "function" and module == "builtins":
            yield str(values["config"]), "", str(values["config"]).rpartition(">")[2]
        elif kind and module and module.partition(".")[0] != "keras":
            yield str(values.get("registered_name") or kind), module, str(kind)
        for each in values.values():
            yield from _described(each)


def _place(key: str, module: str, name: str, around: Iterable[str]) -> str:
    """Return the location of a key's object as `MODULE:NAME`: its module or, for functions, one of those `around`."""
    import keras

    registered = keras.saving.get_registered_object(key) if ">" in key else None
    if registered:
        module, name = registered.__module__, registered.__name__
    places = [f"{each}:{name}" for each in ([module] if module else around) if _defines(each, name)]
    what = f"{name}{f' of {module}' if module else ''}"
    require(
        bool(places),
        f"it could not be loaded again, because it uses {what}. Use classes and functions from the top level of a "
        "module that can be imported.",
    )
    _require_one(name, places)
    return places[0]


def _defines(module: str, name: str) -> bool:
    found = getattr(sys.modules.get(module), name, None) if module != "__main__" else None
    return getattr(found, "__module__", "") == module
