"""Splits a CSV's text into blocks of whole lines, each small enough for memory and a valid CSV by itself."""

from __future__ import annotations

import codecs
import io
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass

from harness.data.csv_lines import END, LONGEST, BadRecord, count_endings, lines_of, read_line, records, rest_of_ending
from harness.data.csv_quotes import Quotes, find_quotes
from harness.data.csv_text import open_text
from harness.data.files import File
from harness.data.source import Selection, check_names
from harness.errors import ConfigError, require

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WIDE_TEXT = "data.path: {} is binary or UTF-16. If it is UTF-16, set data.encoding=utf-16."


@dataclass(frozen=True)
class Block:
    """Whole lines of a CSV under a header of their own, which numbers the columns from 0.

    Attributes:
        names: The file's header.
        data: The block's header and lines, in UTF-8.
        start: Where the lines begin in `data`.
        first_line: The first line's number in the file, from 1.
        position: Bytes of the file read so far.
        is_sound: Whether no quote is misplaced or still open at the end.
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
    address, delimiter, block_bytes = file.address, selection.delimiter, selection.block_bytes
    with open_text(file, selection.encoding) as (stream, below):
        names, line, read = _read_header(address, stream, delimiter)
        check_names(address, names, selection.columns, _suggest_delimiter(names, delimiter))
        prefix = delimiter.join(map(str, range(len(names)))).encode() + b"\n"
        while lines := stream.read(block_bytes):
            data = bytearray().join([prefix, lines])
            data += rest_of_ending(stream, data) if data.endswith((b"\n", b"\r")) else read_line(stream)
            _check_length(address, data, line, stream)
            quotes = find_quotes(data, delimiter)
            while quotes is Quotes.open and len(data) < block_bytes + LONGEST and (more := read_line(stream)):
                data += more
                quotes = find_quotes(b'"' + more, delimiter) if b'"' in more else quotes
            view = memoryview(data)
            read += len(view) - len(prefix)
            _check_encoding(address, view, line, selection.encoding)
            position = below.tell() if below.seekable() else read
            yield Block(address, names, delimiter, view, len(prefix), line, position, quotes is Quotes.closed)
            line += count_endings(data) - 1


def read_header(file: File, selection: Selection) -> list[str]:
    """Return the names of a CSV's columns."""
    with open_text(file, selection.encoding) as (stream, _):
        return list(_read_header(file.address, stream, selection.delimiter)[0])


def _check_length(address: str, data: bytearray, line: int, stream: io.BufferedReader) -> None:
    """Reject overlong lines; `line` is the number of the first line of `data` below the block's header."""
    if len(data) > LONGEST and not data.endswith((b"\n", b"\r")) and stream.peek(1):
        line += count_endings(data) - 1
        raise ConfigError(f"{address}, line {line}: the line is longer than {LONGEST >> 20} MiB.")


def _read_header(address: str, stream: io.BufferedReader, delimiter: str) -> tuple[tuple[str, ...], int, int]:
    """Return the column names, the number of the line after them, and the bytes read; skip blank lines above them."""
    line, read, is_wide = 1, 0, False

    def decoded() -> Generator[str]:
        nonlocal line, read, is_wide
        for piece in lines_of(stream):
            is_wide = is_wide or b"\0" in piece or (line == 1 and piece.startswith(_WIDE))
            text = (piece.removeprefix(codecs.BOM_UTF8) if line == 1 else piece).decode()
            line, read = line + 1, read + len(piece)
            yield text
        yield END

    try:
        _, record = next(records(decoded(), delimiter))
    except (BadRecord, UnicodeDecodeError) as error:
        require(not is_wide, _WIDE_TEXT.format(address))
        if isinstance(error, UnicodeDecodeError):
            raise
        raise ConfigError(f"data.path: cannot read the header of {address}: {error}") from error
    require(record != [END], f"data.path: {address} is empty; a CSV must start with a header line.")
    require(not is_wide, _WIDE_TEXT.format(address))
    require(not record[-1].endswith(END), f"{address}, line 1: unclosed quote. Fix the line.")
    # As pandas names them.
    names = tuple(name or f"Unnamed: {index}" for index, name in enumerate(record))
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    require(not twice, f"{address}, line 1: duplicate column names {', '.join(twice)}. Make the names unique.")
    return names, line, read


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
        line += count_endings(bytearray(view[: error.start])) - 1
        raise ConfigError(
            f"{address}, line {line}: byte {view[error.start]:#x} is not valid {encoding}. "
            "Set data.encoding, for example to latin-1."
        ) from error
