"""The registry of file formats."""

from __future__ import annotations

from harness.data.csv_source import CsvSource
from harness.data.files import open_file
from harness.data.parquet_source import ParquetSource
from harness.data.source import Selection, Source

FORMATS: tuple[type[Source], ...] = (
    ParquetSource,
    CsvSource,  # Last: it takes whatever the others do not.
)


def open_source(address: str, selection: Selection) -> Source:
    """Open the file at an address as the first format whose mark it begins with; a stream is taken for text."""
    file = open_file(address)
    start = b""
    if not file.is_stream:
        with file.open() as stream:
            start = stream.peek(max(len(mark) for kind in FORMATS for mark in (*kind.marks, b"")))
    return next(kind for kind in FORMATS if not kind.marks or start.startswith(kind.marks))(file, selection)
