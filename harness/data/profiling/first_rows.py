"""Finds a source and reads its first rows, so that a wrong path, column or format is reported within a second."""

from __future__ import annotations

import contextlib

from harness.config import AnyData, DataConfig
from harness.data.formats import open_source
from harness.data.kinds import find_named
from harness.data.row_input import local_addresses
from harness.data.selection import Selection
from harness.data.storage.files import open_file

FIRST_BYTES = 64 << 10


def check_first_rows(data: AnyData) -> None:
    """Check that a source exists, and that its first file of rows has the columns and values that `data` expects.

    Remote files, streams and images are left to the pass that reads all of them.

    Raises:
        ConfigError: The files do not exist, or do not match `data`.
    """
    if not isinstance(data, DataConfig):
        find_named(data)
        return
    addresses = local_addresses(data)
    if not addresses or open_file(addresses[0]).is_stream:
        return
    with contextlib.closing(open_source(addresses[0], Selection.of(data, FIRST_BYTES)).chunks()) as chunks:
        next(chunks, None)
