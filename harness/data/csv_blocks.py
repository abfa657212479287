"""Splits a CSV's text into blocks of whole lines, each small enough for memory and a valid CSV by itself."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from harness.data.csv_text import open_text
from harness.data.files import File
from harness.data.source import Selection, check_names
from harness.errors import ConfigError, require

LONGEST = 48 << 20
"""Maximum size of a field in bytes; anything longer is taken for an unclosed quote."""


@dataclass(frozen=True)
class Block:
    """Whole lines of a CSV under a header of their own, which numbers the columns from 0.

    Attributes:
        names: The file's header.
        data: The block's header and lines, in UTF-8.
        start: Where the lines begin in `data`.
        first_line: The first line's number in the file, from 1.
        position: Bytes of the file read so far.
        odd: Whether the number of quotes is odd, so that one may still be open at the end.
    """

    address: str
    names: tuple[str, ...]
    delimiter: str
    data: memoryview
    start: int
    first_line: int
    position: int
    odd: bool


def read_blocks(file: File, selection: Selection) -> Generator[Block]:
    """Read a CSV block by block."""
    address, delimiter, block_bytes = file.address, selection.delimiter, selection.block_bytes
    with open_text(file, selection.encoding) as (stream, below):
        head, line, read = _read_head(stream)
        names = _parse_header(address, head, delimiter)
        check_names(address, names, selection.columns, _suggest_delimiter(names, delimiter))
        prefix = delimiter.join(map(str, range(len(names)))).encode() + b"\n"
        while lines := stream.read(block_bytes):
            data = bytearray().join([prefix, lines])
            if data[-1:] != b"\n":
                data += stream.readline(LONGEST)
                _check_length(address, data, line, stream)
            quotes = _count(data, '"') if b'"' in data else 0
            while quotes % 2 and len(data) < block_bytes + LONGEST and (more := stream.readline(LONGEST)):
                # A field continues on the next line.
                data += more
                quotes += more.count(b'"')
            view = memoryview(data)
            read += len(view) - len(prefix)
            _check_encoding(address, view, line, selection.encoding)
            position = below.tell() if below.seekable() else read
            yield Block(address, names, delimiter, view, len(prefix), line, position, quotes % 2 == 1)
            line += _count(view, "\n") - 1


def read_header(file: File, selection: Selection) -> list[str]:
    """Return the names of a CSV's columns."""
    with open_text(file, selection.encoding) as (stream, _):
        return list(_parse_header(file.address, _read_head(stream)[0], selection.delimiter))


def _check_length(address: str, data: bytearray, line: int, stream: io.BufferedReader) -> None:
    """Reject overlong lines; `line` is the number of the first line of `data` below the block's header."""
    if len(data) > LONGEST and data[-1:] != b"\n" and stream.peek(1):
        line += _count(data, "\n") - 1
        raise ConfigError(f"{address}, line {line}: the line is longer than {LONGEST >> 20} MiB.")


def _count(data: bytearray | memoryview, mark: str) -> int:
    # Several times faster than bytes.count if quotes are frequent.
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(mark)))


def _read_head(stream: io.BufferedReader) -> tuple[bytes, int, int]:
    """Return the header, the number of the line after it, and the bytes read; skip blank lines above the header."""
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


def _parse_header(address: str, head: bytes, delimiter: str) -> tuple[str, ...]:
    require(bool(head), f"data.path: {address} is empty; a CSV must start with a header line.")
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head
    require(not wide, f"data.path: {address} is binary or UTF-16. If it is UTF-16, set data.encoding=utf-16.")
    try:
        record = next(csv.reader(io.StringIO(head.decode(), newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ConfigError(f"data.path: cannot read the header of {address}: {error}") from error
    # As pandas names them.
    names = tuple(name or f"Unnamed: {index}" for index, name in enumerate(record))
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"{address}, line 1: duplicate column names {', '.join(twice)}. Make the names unique.")
    return names


def _suggest_delimiter(names: tuple[str, ...], delimiter: str) -> str:
    if len(names) == 1 and (other := next((mark for mark in ";\t|," if mark != delimiter and mark in names[0]), "")):
        return f"Its only column is {names[0][:60]!r}: set data.delimiter={other!r}."
    return ""


def _check_encoding(address: str, view: memoryview, line: int, encoding: str) -> None:
    """Reject text that is not UTF-8; other encodings were checked when they were converted to UTF-8."""
    if isinstance(view.obj, bytearray) and view.obj.isascii():
        return  # Ten times faster to check.
    try:
        codecs.utf_8_decode(view, "strict", True)
    except UnicodeDecodeError as error:
        # The block's own header counts as one line.
        line += bytes(view[: error.start]).count(b"\n") - 1
        raise ConfigError(
            f"{address}, line {line}: byte {view[error.start]:#x} is not valid {encoding}. "
            "Set data.encoding, for example to latin-1."
        ) from error
