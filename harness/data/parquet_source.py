"""Parquet files as typed chunks."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import pyarrow.parquet as pq

from harness.data.arrow_errors import named_damage
from harness.data.selection import Chunk
from harness.data.source import Source, check_names
from harness.data.typed_values import booleans_of, to_column

MOST_ROWS = 1 << 17
BYTES_A_VALUE = 8


class ParquetSource(Source):
    """An Apache Parquet file with any name."""

    @classmethod
    def recognizes(cls, address: str, start: bytes) -> bool:
        """Look for Parquet's magic bytes at the start."""
        return start.startswith(b"PAR1")

    def names(self) -> list[str]:
        """Return the column names in the schema."""
        with named_damage(self.file.address), self.file.open_seekable() as stream, pq.ParquetFile(stream) as file:
            return file.schema_arrow.names

    def read(self) -> Generator[Chunk]:
        """Read rows in batches, independently of row groups."""
        first_row, selection, address = 0, self.selection, self.file.address
        batch_rows = max(1, min(MOST_ROWS, selection.block_bytes // BYTES_A_VALUE))
        with (
            named_damage(address),
            self.file.open_seekable() as stream,
            pq.ParquetFile(stream, page_checksum_verification=True) as file,
        ):
            check_names(address, file.schema_arrow.names, selection.columns)
            size, booleans = self.file.size(), booleans_of(file.schema_arrow, selection)
            for batch in file.iter_batches(batch_rows, columns=list(selection.columns)):
                last_row = first_row + batch.num_rows
                locate = partial(name_row, address, first_row)
                columns = [to_column(name, batch.column(name), selection, locate) for name in selection.columns]
                yield Chunk(columns, locate, size * last_row // max(file.metadata.num_rows, 1), booleans)
                first_row = last_row


def name_row(address: str, first_row: int, row: int) -> str:
    """Return the file and the number of a row, from 1, given the index of the first row of its chunk."""
    return f"{address}, row {first_row + row + 1}"
