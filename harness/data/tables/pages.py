"""The column files of a table: raw little-endian values in pages, each with a checksum."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from harness.data.statistics import Column
from harness.runtime.state_files import StateError, checksum, may_pass, open_own

PAGE_ROWS = 65_536
"""Rows per page, unless a page of one column or of all columns would be too large."""
PAGE_BYTES = 4 << 20
"""Maximum size of a page of one column, in bytes."""
READ_BYTES = 16 << 20
"""Maximum size in bytes of a page of all columns, which a reader keeps in memory; `LEAST_ROWS` takes precedence."""
LEAST_ROWS = 4096
SUM_BYTES = 8

Part = Literal["train", "holdout", "test"]
PARTS: tuple[Part, Part] = ("train", "holdout")
"""The parts of every table."""
ALL_PARTS: tuple[Part, ...] = (*PARTS, "test")
"""In the order of their checksums."""


class DamagedTable(StateError):
    """A table's files are damaged.

    Attributes:
        folder: The table's folder.
    """

    def __init__(self, folder: Path, fault: str) -> None:
        super().__init__(f"Table {folder.name[:8]} is damaged: {fault}.")
        self.folder = folder


def column_path(folder: Path, part: Part, index: int) -> Path:
    """Return the path of the file for one column of one part."""
    return folder / f"{part}.{index}.bin"


def page_rows_of(columns: Sequence[Column]) -> int:
    """Return the number of rows per page, a power of two, for a table with these columns."""
    sizes = [column.value_bytes for column in columns]
    most = min(PAGE_ROWS, max(PAGE_BYTES // max(sizes), 1), max(READ_BYTES // sum(sizes), LEAST_ROWS))
    return 1 << most.bit_length() - 1


def in_pages(pieces: Iterable[np.ndarray], page_rows: int) -> Iterator[np.ndarray]:
    """Divide rows, passed as `[columns, rows]` of any length, into pages; the last page may be shorter."""
    waiting: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += piece.shape[1]
        if count >= page_rows:
            rows = np.concatenate(waiting, axis=1)
            count %= page_rows
            full = rows.shape[1] - count
            yield from np.split(rows[:, :full], range(page_rows, full, page_rows), axis=1)
            waiting = [rows[:, full:]]
    if count:
        yield np.concatenate(waiting, axis=1)


class ColumnWriter:
    """Writes the file of one column of one part, page by page.

    Attributes:
        sums: The checksums of the pages written so far, `SUM_BYTES` each.
    """

    def __init__(self, path: Path, column: Column, page_rows: int) -> None:
        self.sums = bytearray()
        self._file = path.open("w+b")
        self._type = column.file_type
        self._page_bytes = page_rows * column.value_bytes

    def append(self, values: np.ndarray) -> None:
        """Append a page, `[rows, *shape]`."""
        data = np.ascontiguousarray(values, self._type).reshape(-1).view(np.uint8).data
        self._file.write(data)
        self.sums += bytes.fromhex(checksum(data))

    def rewrite(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Apply `change`, which takes and returns a flat array of values, to every page.

        Raises:
            OSError: A page differs from what was written.
        """
        sums, self.sums = bytes(self.sums), bytearray()
        for page in range(len(sums) // SUM_BYTES):
            self._file.seek(page * self._page_bytes)
            data = self._file.read(self._page_bytes)
            if bytes.fromhex(checksum(data)) != sums[page * SUM_BYTES : (page + 1) * SUM_BYTES]:
                raise OSError(errno.EIO, f"page {page + 1} differs from what was written", self._file.name)
            self._file.seek(page * self._page_bytes)
            self.append(change(np.frombuffer(data, self._type)))

    def finish(self) -> None:
        """Sync the file to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class PageReader:
    """Reads rows of a part's columns, verifies each page, and caches the last one.

    Args:
        folder: The table's folder.
        columns: The columns to read, by their index in the table.
        rows: Number of rows of the part.
        sums: For each column of the table, the checksums of its pages.
    """

    def __init__(
        self, folder: Path, part: Part, columns: dict[int, Column], rows: int, page_rows: int, sums: Sequence[bytes]
    ) -> None:
        self._folder, self._columns = folder, columns
        self._part: Part = part
        self._rows, self._page_rows, self._sums = rows, page_rows, sums
        self._page = -1
        self._values: list[np.ndarray] = []

    def read(self, start: int, stop: int) -> list[np.ndarray]:
        """Return rows `[start, stop)` of each column, `[rows, *shape]`, read-only.

        Raises:
            DamagedTable: A page's file is missing, too short, or does not match its checksum.
        """
        pieces = []
        while start < stop:
            page, first = divmod(start, self._page_rows)
            last = min(first + stop - start, self._page_rows)
            pieces.append([values[first:last] for values in self._load(page)])
            start += last - first
        if len(pieces) == 1:
            return pieces[0]
        empty = [np.empty((0, *column.shape), column.file_type) for column in self._columns.values()]
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)] if pieces else empty

    def _load(self, page: int) -> list[np.ndarray]:
        if page != self._page:
            self._page, self._values = -1, []  # Release this page before the next one needs memory.
            self._values = [self._load_column(index, column, page) for index, column in self._columns.items()]
            self._page = page
        return self._values

    def _load_column(self, index: int, column: Column, page: int) -> np.ndarray:
        first = page * self._page_rows
        data = np.empty((min(self._rows - first, self._page_rows)) * column.value_bytes, np.uint8)
        path = column_path(self._folder, self._part, index)
        where = f"page {page + 1} of column {column.name} ({path.name})"
        try:
            with open_own(path) as file:
                file.seek(first * column.value_bytes)
                # Buffered, because a single unbuffered read stops at 2 GiB.
                size = file.readinto(data)
        except OSError as error:
            if may_pass(error):
                raise
            raise DamagedTable(self._folder, f"cannot read {where}: {error.strerror}") from error
        except StateError as error:
            raise DamagedTable(self._folder, str(error).rstrip(".")) from error
        if size != len(data):
            raise DamagedTable(self._folder, f"{where} is truncated")
        if bytes.fromhex(checksum(data)) != self._sums[index][page * SUM_BYTES : (page + 1) * SUM_BYTES]:
            raise DamagedTable(self._folder, f"{where} does not match its checksum")
        data.flags.writeable = False
        return data.view(column.file_type).reshape(-1, *column.shape)
