"""Reads the first rows of a source, so that a wrong path, column or format is reported within a second."""

from __future__ import annotations

import contextlib
from pathlib import Path

from harness.config import AnyData, DataConfig
from harness.data.formats import open_source
from harness.data.inputs import origin_of
from harness.data.selection import Selection
from harness.data.storage.addresses import find_addresses
from harness.data.storage.files import open_file
from harness.data.storage.urls import scheme

FIRST_BYTES = 64 << 10


def check_first_rows(data: AnyData) -> None:
    """Check that a source's files exist, and that the first one has the columns and values that `data` expects.

    Remote files and streams are left to the pass that reads all rows.

    Raises:
        ConfigError: They do not exist or are not as `data` says.
    """
    names = [data.path] if isinstance(data.path, str) else data.path or []
    local = [name for name in names if not scheme(name)]
    addresses = find_addresses(local, origin_of(data))
    if not isinstance(data, DataConfig) or not addresses or Path(addresses[0]).is_dir():
        return
    if open_file(addresses[0]).is_stream:
        return
    with contextlib.closing(open_source(addresses[0], Selection.of(data, FIRST_BYTES)).chunks()) as chunks:
        next(chunks, None)
