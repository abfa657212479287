"""A CSV's text as blocks of whole lines: small enough for memory, and each a CSV by itself."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.sources import open_text
from harness.errors import ConfigError, require

BLOCK_BYTES = 8 << 20
"""Bytes of text parsed at once: enough to hide what a call costs, few enough for three of them to be in memory."""

LONGEST = 48 << 20
"""Bytes that a field may have: beyond, a quote was never closed."""


@dataclass(frozen=True)
class Block:
    """Whole lines of a CSV, with a header of their own: the numbers of the columns, from 0.

    Attributes:
        path: The file.
        names: Its own header.
        delimiter: Between fields.
        data: UTF-8.
        start: Where the lines begin in `data`, behind the header.
        first_line: Their number in the file, whose first line is 1.
        position: Bytes of the file that were taken when these had been read.
        odd: Whether it has an odd number of quotes, so that one may be open at its end.
    """

    path: Path
    names: tuple[str, ...]
    delimiter: str
    data: memoryview
    start: int
    first_line: int
    position: int
    odd: bool

    @property
    def lines(self) -> memoryview:
        """The lines without the header."""
        return self.data[self.start :]

    def index(self, name: str) -> str:
        """Return the name of a column in the header of the block."""
        return str(self.names.index(name))


def read_blocks(path: Path, columns: Sequence[str], delimiter: str = ",", encoding: str = "utf-8") -> Generator[Block]:
    """Read a CSV from its header on, block by block.

    Raises:
        ConfigError: It has no header, or not these columns, or is no text in `encoding`.
    """
    with open_text(path, encoding) as text:
        stream = text.stream
        head, line, read = _read_head(stream)
        names = _parse_header(path, head, delimiter)
        check_names(path, names, columns, delimiter)
        prefix = delimiter.join(map(str, range(len(names)))).encode() + b"\n"
        while True:
            data = bytearray(len(prefix) + BLOCK_BYTES)
            data[: len(prefix)] = prefix
            with memoryview(data) as room:
                end = len(prefix) + _fill(stream, room[len(prefix) :])
            if end == len(prefix):
                return
            del data[end:]
            if data[-1:] != b"\n":
                data += stream.readline(LONGEST)
                _check_length(path, data, line, stream)
            quotes = _count(data, '"') if b'"' in data else 0
            while quotes % 2 and len(data) < BLOCK_BYTES + LONGEST and (more := stream.readline(LONGEST)):
                # A field goes on in the next line.
                data += more
                quotes += more.count(b'"')
            view = memoryview(data)
            read += len(view) - len(prefix)
            _check_text(path, view, line, encoding)
            odd = quotes % 2 == 1
            yield Block(path, names, delimiter, view, len(prefix), line, text.position(read), odd)
            line += _count(view, "\n") - 1


def read_header(path: Path, delimiter: str = ",", encoding: str = "utf-8") -> list[str]:
    """Return the names of the columns of the CSV at `path`.

    Raises:
        ConfigError: There is no such file, or it has no header that can be read.
    """
    require(path.exists(), "data.path expected a CSV file", path)
    with open_text(path, encoding) as text:
        return list(_parse_header(path, _read_head(text.stream)[0], delimiter))


def _fill(stream: io.BufferedReader, room: memoryview) -> int:
    """Read until `room` is full or the stream ends, since unpacked and recoded streams give less at a time."""
    filled = 0
    while filled < len(room) and (got := stream.readinto(room[filled:])):
        filled += got
    return filled


def _check_length(path: Path, data: bytearray, line: int, stream: io.BufferedReader) -> None:
    """Refuse a line that does not end; `line` is the number of the first one of `data`, without its header."""
    if len(data) > LONGEST and data[-1:] != b"\n" and stream.peek(1):
        line += _count(data, "\n") - 1
        raise ConfigError(f"data.path expected lines of at most {LONGEST >> 20} MiB. Received: {path}, line {line}.")


def _count(data: bytearray | memoryview, mark: str) -> int:
    # Where marks are dense, several times as fast as bytes.count.
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(mark)))


def _read_head(stream: io.BufferedReader) -> tuple[bytes, int, int]:
    """Return the header, the number of the line after it, and the bytes read; lines above it may be blank."""
    head, line, read = b"", 1, 0
    while piece := stream.readline(LONGEST):
        read += len(piece)
        line += piece.count(b"\n")
        head += piece.removeprefix(codecs.BOM_UTF8) if not head else piece
        if not head.strip():
            head = b""
        elif head.count(b'"') % 2 == 0 or len(head) > LONGEST:
            break
    return head, line, read


def _parse_header(path: Path, head: bytes, delimiter: str) -> tuple[str, ...]:
    require(bool(head), "data.path expected a CSV with a header line", f"{path}, which is empty")
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head
    require(
        not wide, "data.path expected text", f"{path}, which is binary or UTF-16", "For text, set data.encoding=utf-16."
    )
    try:
        record = next(csv.reader(io.StringIO(head.decode(), newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ConfigError(f"data.path expected a CSV with a header line. Received: {path} ({error}).") from error
    # Nameless columns are called as pandas calls them.
    names = tuple(name or f"Unnamed: {index}" for index, name in enumerate(record))
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, "data.path expected columns of different names", f"{', '.join(twice)} twice in {path}, line 1")
    return names


def check_names(path: Path, names: Sequence[str], columns: Sequence[str], delimiter: str = ",") -> None:
    """Refuse columns that are not among the `names` of a file's.

    Raises:
        ConfigError: It says which, and what they may be.
    """
    missing = [name for name in columns if name not in names]
    if not missing:
        return
    alike = {name.casefold(): name for name in names}
    close = [alike[name] for name in difflib.get_close_matches(missing[0].casefold(), alike, n=3, cutoff=0.5)]
    if len(names) == 1 and (other := next((mark for mark in ";\t|," if mark != delimiter and mark in names[0]), "")):
        remedy = f"It has one column, {names[0][:60]!r}: set data.delimiter={other!r}."
    elif close:
        remedy = f"Did you mean {' or '.join(close)}?"
    else:
        remedy = f"It has: {', '.join(names[:30])}{', ...' if len(names) > 30 else ''}."
    raise ConfigError(
        f"data.features and data.target expected columns of {path}. Received: {', '.join(missing)}. {remedy}"
    )


def _check_text(path: Path, view: memoryview, line: int, encoding: str) -> None:
    """Refuse what is no UTF-8; other encodings have been checked on their way to it."""
    if isinstance(view.obj, bytearray) and view.obj.isascii():
        return  # Ten times as fast to see.
    try:
        codecs.utf_8_decode(view, "strict", True)
    except UnicodeDecodeError as error:
        # The block's own header is one line more.
        line += bytes(view[: error.start]).count(b"\n") - 1
        raise ConfigError(
            f"data.path expected text in {encoding}. Received: the byte {view[error.start]:#x} in {path}, line {line}. "
            "Set data.encoding, as to latin-1."
        ) from error
