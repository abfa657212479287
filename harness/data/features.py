"""Replaces `data.features=all`, patterns and `data.exclude` with the names of columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from harness.config import DataConfig
from harness.data.formats import open_source
from harness.data.ingest import ProgressCallback
from harness.data.inputs import Say
from harness.data.row_input import RowFiles
from harness.data.selection import Selection
from harness.data.source import check_names
from harness.data.storage.files import open_file
from harness.errors import require


def name_features(data: DataConfig, cache: Path, progress: ProgressCallback, say: Say) -> DataConfig:
    """Return `data` with its features listed by name; column names are read from the first file if needed.

    Raises:
        ConfigError: No column matches, or the file is a stream.
    """
    if not data.has_patterns:
        return data
    address = RowFiles.find(data, cache, progress, say).addresses[0]
    is_stream = open_file(address).is_stream
    require(not is_stream, f"data.features: name the columns, because {address} is a stream and can be read only once.")
    names = open_source(address, Selection((), dialect=data)).names()
    others = data.columns[len(data.features) :]  # Targets and weights.
    check_names(address, names, others)
    check_names(address, names, [name for name in data.features if name in names])
    found = _matching(address, list(dict.fromkeys(names)), data.features, "features", excluded=others)
    excluded = _matching(address, names, data.exclude, "exclude")
    found = [name for name in found if name not in excluded]
    require(bool(found), "data.exclude leaves no features.")
    left = [name for name in found if names.count(name) == 1]  # The name would be ambiguous.
    twice = ", ".join(name for name in found if name not in left)
    require(bool(left), f"data.features: duplicate column names {twice} in {address}. Set data.names.")
    if twice:
        say(f"data.features leaves out {twice}: more than one column has that name. Set data.names to tell them apart.")
    return dataclasses.replace(data, features=left, exclude=[])


def _matching(
    address: str, names: Sequence[str], patterns: Sequence[str], key: str, excluded: Sequence[str] = ()
) -> list[str]:
    """Return the columns that equal or match one of `patterns`, in the order of the patterns, then of the file."""
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = [pattern] if pattern in names else [name for name in names if fnmatchcase(name, pattern)]
        if not any(mark in pattern for mark in "*?"):
            check_names(address, list(dict.fromkeys(names)), [pattern])
        require(bool(matches), f"data.{key}: no column of {address} matches {pattern}.")
        found |= dict.fromkeys(name for name in matches if name not in excluded or name == pattern)
    return list(found)
