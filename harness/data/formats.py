"""The registry of file formats."""

from __future__ import annotations

from harness.data.csv.source import CsvSource
from harness.data.feather_source import FeatherSource
from harness.data.json_source import JsonLinesSource
from harness.data.parquet_source import ParquetSource
from harness.data.selection import Selection
from harness.data.source import Source
from harness.data.storage.files import open_file

FORMATS: tuple[type[Source], ...] = (
    ParquetSource,
    FeatherSource,
    JsonLinesSource,
    CsvSource,  # Must be last, because it accepts every file.
)


def open_source(address: str, selection: Selection) -> Source:
    """Open the file at an address in the first format that recognizes it."""
    file = open_file(address)
    start = b""
    if not file.is_stream:
        with file.open() as stream:
            start = stream.peek(1)
    return next(kind for kind in FORMATS if kind.recognizes(file.address, start))(file, selection)
