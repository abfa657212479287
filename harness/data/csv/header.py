"""Reads the names of a CSV's columns."""

from __future__ import annotations

import codecs
import io
from collections.abc import Generator
from typing import NamedTuple

from harness.config.dialect import Dialect
from harness.config.dialect import Header as HeaderKind
from harness.data.csv.lines import END, BadRecord, lines_of, records
from harness.errors import ConfigError, require

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WIDE_TEXT = "data.path: {} is binary or UTF-16. If it is UTF-16, set data.encoding=utf-16."


class Header(NamedTuple):
    """The names of all columns, and the start of the rows.

    Attributes:
        line: The number of the first line of `rows`, or of the stream's next line if `rows` is empty, from 1.
        rows: Lines that were already read to count the columns of a file without a header.
    """

    names: tuple[str, ...]
    line: int
    rows: bytes = b""


def read_header(address: str, stream: io.BufferedReader, dialect: Dialect) -> Header:
    """Read the names of a CSV's columns from the start of its text, and skip blank lines above them.

    Raises:
        ConfigError: The header is missing, or is not text.
    """
    pieces: list[bytes] = []
    is_wide = False

    def decoded() -> Generator[str]:
        nonlocal is_wide
        for piece in lines_of(stream):
            is_wide = is_wide or b"\0" in piece or (not pieces and piece.startswith(_WIDE))
            text = (piece if pieces else piece.removeprefix(codecs.BOM_UTF8)).decode()
            pieces.append(piece)
            yield text
        yield END

    found = records(decoded(), dialect.separator)
    try:
        first, record = next(found)
        has_header = dialect.header is HeaderKind.first
        if has_header and dialect.units_row:
            next(found, None)
    except (BadRecord, UnicodeDecodeError) as error:
        require(not is_wide, _WIDE_TEXT.format(address))
        if isinstance(error, UnicodeDecodeError):
            raise
        raise ConfigError(f"data.path: cannot read the header of {address}: {error}") from error
    need = "a header line" if has_header else "a row"
    require(record != [END], f"data.path: {address} is empty; a CSV must start with {need}.")
    require(not is_wide, _WIDE_TEXT.format(address))
    require(not record[-1].endswith(END), f"{address}, line {first + 1}: unclosed quote. Fix the line.")
    if dialect.names:
        count = len(dialect.names)
        require(count == len(record), f"data.names has {count} names, but {address} has {len(record)} columns.")
        names = tuple(map(str, dialect.names))
    elif has_header:
        # As pandas would name them.
        names = tuple(name or f"Unnamed: {index}" for index, name in enumerate(record))
    else:
        names = tuple(map(str, range(len(record))))
    if has_header:
        return Header(names, len(pieces) + 1)
    rows = b"".join(pieces[first:])
    return Header(names, first + 1, rows if first else rows.removeprefix(codecs.BOM_UTF8))
