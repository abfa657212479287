"""What makes two runs the same run."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable

from harness.config import Config
from harness.data.table import Table
from harness.runtime.imports import find_target

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
