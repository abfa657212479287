"""Finds what a saved Keras model needs besides Keras: classes and functions of the user's own, and their modules."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.runtime.own_modules import imported_packages, own_modules

_LONGEST = 400
"""Maximum number of characters of Keras's reasons."""


@dataclass(frozen=True)
class OwnCode:
    """Code that is stored with a model.

    Attributes:
        objects: Layers and functions by the name under which Keras looks them up, as `MODULE:NAME`.
        modules: The files of their modules, and of all modules of the user's own that these import, by module name.
        packages: Installed packages that the modules import, as requirements.
        needs_harness: Whether they import the harness, so that the model cannot be loaded without it.
    """

    objects: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, Path] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    needs_harness: bool = False

    def write(self, folder: Path) -> list[str]:
        """Copy the modules into `folder` and return the paths of what is at its top."""
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
        target: The function that built the model: in its modules, functions are looked up, of which Keras records only
            the name.

    Raises:
        ConfigError: The model could not be loaded again: a layer or function is not at the top level of a module.
    """
    with zipfile.ZipFile(model) as file:
        configuration = json.loads(file.read("config.json"))
    around = own_modules(target.rpartition(".")[0])
    objects = dict(_located(each, around) for each in _described(configuration))
    if target.partition(".")[0] not in ("harness", ""):
        _require_loadable(configuration, objects)
    if not objects:
        return OwnCode()
    modules: dict[str, Path] = {}
    for place in objects.values():
        modules |= own_modules(place.partition(":")[0])
    packages = imported_packages(modules.values())
    return OwnCode(objects, modules, tuple(_pinned(packages)), "harness" in packages)


def _require_loadable(configuration: Any, objects: Mapping[str, str]) -> None:
    import keras

    parts = {key: place.partition(":") for key, place in objects.items()}
    own = {key: getattr(sys.modules[module], name) for key, (module, _, name) in parts.items()}
    try:
        keras.saving.deserialize_keras_object(configuration, own, safe_mode=True)
    except Exception as error:
        raise ConfigError(f"it could not be loaded again: {innermost(error)}.") from error


def innermost(error: Exception) -> str:
    """Return the reason why Keras cannot load a model.

    It wraps the error of a layer in those of the models around it, each with its whole configuration.
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


def _located(described: tuple[str, str, str], around: Mapping[str, Path]) -> tuple[str, str]:
    """Return an object's key and its place, `MODULE:NAME`."""
    key, module, name = described
    for each in [module] if module else around:
        found = getattr(sys.modules.get(each), name, None) if each != "__main__" else None
        if getattr(found, "__module__", "") == each:
            return key, f"{each}:{name}"
    what = f"{name}{f' of {module}' if module else ''}"
    raise ConfigError(
        f"it could not be loaded again, as it uses {what}. Use classes and functions from the top level of a module "
        "that can be imported."
    )


def _pinned(packages: set[str]) -> Iterator[str]:
    """Yield requirements for imported packages, if they are installed."""
    distributions = importlib.metadata.packages_distributions()
    names = {name for package in packages for name in distributions.get(package, ())}
    for name in sorted(names - {"harness"}):
        yield f"{name}=={importlib.metadata.version(name)}"
