"""What makes two runs the same run."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Callable, Iterable

from harness.config import Config
from harness.data.table import Table
from harness.errors import ConfigError, require

_WRITTEN = ("data.path", "data.rows", "data.origin", "data.delimiter", "data.encoding", "data.decimal")
_APART = ("tracking.", "runtime.", "data.date_format", *_WRITTEN)


def signature(config: Config, table: Table) -> str:
    """Hash all that a run's numbers follow from: its configuration, the content of its table and its model's source.

    Where records go, how fast they are computed, and where the file lies are left out.

    Returns:
        16 hexadecimal digits.
    """
    settings = {key: value for key, value in config.flat().items() if not key.startswith(_APART)}
    for key in ("log_columns", "categorical", "dates"):
        settings[f"data.{key}"] = sorted(getattr(config.data, key))
    return hashed([sorted(settings.items()), table.digest, _source(config.model["_target_"])])


def sweep_signature(signatures: Iterable[str]) -> str:
    """Hash the signatures of a sweep's runs."""
    return hashed(sorted(set(signatures)))


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


def _source(target: str) -> str:
    """Return the source of the module that a target of the user's own is in."""
    if target.split(".")[0] in ("keras", "harness"):
        return ""
    try:
        return inspect.getsource(inspect.getmodule(find_target(target)))  # pyright: ignore[reportArgumentType]
    except (OSError, TypeError):
        return ""


def hashed(value: object) -> str:
    """Return 16 hexadecimal digits that follow from a value as JSON writes it."""
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()
