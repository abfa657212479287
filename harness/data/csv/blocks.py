"""Splits a CSV's text into blocks of whole lines, each small enough for memory and a valid CSV on its own."""

from __future__ import annotations

import codecs
import io
from collections.abc import Generator
from dataclasses import dataclass

from harness.config.dialect import Dialect
from harness.data.csv.header import read_header
from harness.data.csv.lines import LONGEST, count_endings, read_line, rest_of_line
from harness.data.csv.quotes import Quotes, find_quotes
from harness.data.csv.text import open_text
from harness.data.selection import Selection
from harness.data.source import check_names
from harness.data.storage.files import File
from harness.errors import ConfigError


@dataclass(frozen=True)
class Block:
    """Whole lines of a CSV file, preceded by a header of the block's own that numbers the columns from 0.

    Attributes:
        names: The file's header.
        data: The block's header and lines, in UTF-8.
        start: Offset of the lines in `data`.
        first_line: The first line's number in the file, from 1.
        position: Bytes of the file read so far.
        is_sound: Whether all quotes are well placed and closed.
    """

    address: str
    names: tuple[str, ...]
    delimiter: str
    data: memoryview
    start: int
    first_line: int
    position: int
    is_sound: bool


def read_blocks(file: File, selection: Selection) -> Generator[Block]:
    """Read a CSV block by block."""
    address, dialect, block_bytes = file.address, selection.dialect, selection.block_bytes
    delimiter = dialect.separator
    with open_text(file, dialect) as (stream, below):
        header = read_header(address, stream, dialect)
        names, line = header.names, header.line
        check_names(address, names, selection.columns)
        prefix = delimiter.join(map(str, range(len(names)))).encode() + b"\n"
        above = header.rows
        while lines := above + stream.read(max(1, block_bytes - len(above))):
            above = b""
            data = bytearray().join([prefix, lines])
            data += rest_of_line(stream, data)
            _check_length(address, data, line, stream)
            quotes = find_quotes(data, delimiter)
            while quotes is Quotes.open and len(data) < block_bytes + LONGEST and (more := read_line(stream)):
                data += more
                quotes = find_quotes(b'"' + more, delimiter) if b'"' in more else quotes
            view = memoryview(data)
            _check_encoding(address, view, line, dialect.encoding)
            yield Block(address, names, delimiter, view, len(prefix), line, below.tell(), quotes is Quotes.closed)
            line += count_endings(data) - 1


def read_names(file: File, dialect: Dialect) -> list[str]:
    """Return the names of a CSV's columns."""
    with open_text(file, dialect) as (stream, _):
        return list(read_header(file.address, stream, dialect).names)


def _check_length(address: str, data: bytearray, line: int, stream: io.BufferedReader) -> None:
    """Reject overlong lines; `line` is the number of the first line of `data` below the block's header."""
    if len(data) > LONGEST and not data.endswith((b"\n", b"\r")) and stream.peek(1):
        line += count_endings(data) - 1
        raise ConfigError(f"{address}, line {line}: the line is longer than {LONGEST >> 20} MiB.")


def _check_encoding(address: str, view: memoryview, line: int, encoding: str) -> None:
    """Reject text that is not UTF-8; other encodings were checked when they were converted to UTF-8."""
    if isinstance(view.obj, bytearray) and view.obj.isascii():
        return  # This is ten times faster.
    try:
        codecs.utf_8_decode(view, "strict", True)
    except UnicodeDecodeError as error:
        # The block's own header counts as one line.
        line += count_endings(bytearray(view[: error.start])) - 1
        raise ConfigError(
            f"{address}, line {line}: byte {view[error.start]:#x} is not valid {encoding}. "
            "Set data.encoding, for example to latin-1."
        ) from error
