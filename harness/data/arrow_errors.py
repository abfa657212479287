"""Turns errors about damaged Parquet and Feather files into sentences that name the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyarrow as pa

from harness.errors import ConfigError


@contextlib.contextmanager
def named_damage(address: str) -> Iterator[None]:
    """Replace pyarrow's errors with a `ConfigError`."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"data.path: {address} is damaged ({' '.join(str(error).split()).rstrip('.')}).") from error
