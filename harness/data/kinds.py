"""The registry of inputs, by kind of data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.config import AnyData, DataConfig, ImagesConfig
from harness.data.images.input import ImageFiles
from harness.data.ingest import ProgressCallback
from harness.data.inputs import Input, Say
from harness.data.row_input import RowFiles


def find_input(data: AnyData, cache: Path, progress: ProgressCallback, say: Say = lambda line: None) -> Input:
    """Find what `data` names, generating built-in data first if necessary.

    Raises:
        ConfigError: The data does not exist, or is of another kind.
    """
    if isinstance(data, ImagesConfig):
        return ImageFiles.find(data, cache, say)
    return RowFiles.find(_rows(data), cache, progress, say)


def find_named(data: AnyData) -> list[str]:
    """Return the addresses of the files that `data` names, without generating any.

    Raises:
        ConfigError: The files do not exist, or are of another kind.
    """
    return [] if data.path is None else find_input(data, Path(), lambda state: None).addresses


def input_at(addresses: Sequence[str], data: AnyData) -> Input:
    """Return the input that `data` describes, at addresses that `find_input` found earlier."""
    return ImageFiles(addresses, data) if isinstance(data, ImagesConfig) else RowFiles(addresses, _rows(data))


def _rows(data: AnyData) -> DataConfig:
    if not isinstance(data, DataConfig):
        raise TypeError(f"unknown kind of data: {type(data).__name__}")
    return data
