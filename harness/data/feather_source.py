"""Feather files, which are Arrow's IPC format, as typed chunks."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import pyarrow as pa
import pyarrow.ipc

from harness.data.arrow_errors import named_damage
from harness.data.parquet_source import BYTES_A_VALUE, MOST_ROWS, name_row
from harness.data.selection import Chunk
from harness.data.source import Source, check_names
from harness.data.typed_values import booleans_of, to_column
from harness.errors import require


class FeatherSource(Source):
    """A Feather file with any name."""

    @classmethod
    def recognizes(cls, address: str, start: bytes) -> bool:
        """Look for the magic bytes at the start, including those of the obsolete format."""
        return start.startswith((b"ARROW1", b"FEA1"))

    def names(self) -> list[str]:
        """Return the column names in the schema."""
        with named_damage(self.file.address), self.file.open_seekable() as stream, self._open(stream) as file:
            return file.schema.names

    def read(self) -> Generator[Chunk]:
        """Read rows in the file's batches, in pieces if they are long."""
        first_row, selection, address = 0, self.selection, self.file.address
        most_rows = max(1, min(MOST_ROWS, selection.block_bytes // BYTES_A_VALUE))
        with named_damage(address), self.file.open_seekable() as stream, self._open(stream) as file:
            check_names(address, file.schema.names, selection.columns)
            size, count, booleans = self.file.size(), file.num_record_batches, booleans_of(file.schema, selection)
            for index in range(count):
                whole = file.get_batch(index)
                for start in range(0, whole.num_rows, most_rows):
                    batch = whole.slice(start, most_rows)
                    locate = partial(name_row, address, first_row)
                    columns = [to_column(name, batch.column(name), selection, locate) for name in selection.columns]
                    yield Chunk(columns, locate, size * (index + 1) // count, booleans)
                    first_row += batch.num_rows

    def _open(self, stream: pa.NativeFile) -> pyarrow.ipc.RecordBatchFileReader:
        start = stream.read(4)
        require(
            bytes(start) != b"FEA1",
            f"data.path: {self.file.address} uses the obsolete Feather V1 format. "
            "Rewrite it with a current version of pandas.",
        )
        stream.seek(0)
        return pyarrow.ipc.open_file(stream)
