"""Lines and records of a CSV's text; lines end in LF, CR LF or CR, possibly mixed within a file, as in pandas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import takewhile

import numpy as np

LONGEST = 48 << 20
"""Maximum size of a line or field in bytes; anything longer is treated as an unclosed quote."""

END = "\0end of text"
"""A line added after the last one: if it becomes part of a field, a quote was left open."""

csv.field_size_limit(LONGEST)


def read_line(stream: io.BufferedReader) -> bytes:
    """Read to the end of a line, or `LONGEST` bytes; return nothing at the end of the stream."""
    pieces: list[bytes] = []
    size = 0
    while size < LONGEST and (ahead := stream.peek(1)):
        end = min((at for at in (ahead.find(b"\n"), ahead.find(b"\r")) if at >= 0), default=-1)
        pieces.append(stream.read(end + 1 if end >= 0 else len(ahead)))
        size += len(pieces[-1])
        if end >= 0:
            return b"".join([*pieces, _rest_of_ending(stream, pieces[-1])])
    return b"".join(pieces)


def rest_of_line(stream: io.BufferedReader, read: bytes | bytearray) -> bytes:
    """Read the rest of a line whose beginning has been `read`: of a complete line, at most the LF of a CR LF."""
    return _rest_of_ending(stream, read) if read.endswith((b"\n", b"\r")) else read_line(stream)


def _rest_of_ending(stream: io.BufferedReader, read: bytes | bytearray) -> bytes:
    return stream.read(1) if read[-1:] == b"\r" and stream.peek(1)[:1] == b"\n" else b""


def lines_of(stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield the lines from the stream's position on, with their endings."""
    return takewhile(bool, iter(lambda: read_line(stream), b""))


class BadRecord(ValueError):
    """A field is longer than `LONGEST`, or text follows a closing quote; `line` is the record's first line, from 0."""

    def __init__(self, line: int, reason: object) -> None:
        super().__init__(str(reason))
        self.line = line


def records(lines: Iterable[str], delimiter: str, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line, from 0, and the fields of each record; skip blank lines.

    Raises:
        BadRecord: A field is too long, or `strict` is set and text follows a closing quote.
    """
    last = ""

    def remember(line: str) -> str:
        nonlocal last
        last = line
        return line

    reader, first = csv.reader(map(remember, lines), delimiter=delimiter, strict=strict), 0
    try:
        for record in reader:
            # A line with only a quoted field of spaces is not blank.
            if len(record) > 1 or last.strip(" \t\r\n"):
                yield first, record
            first = reader.line_num
    except csv.Error as error:
        raise BadRecord(first, error) from error


def count(text: bytes | bytearray | memoryview, mark: str) -> int:
    """Count a character; several times faster than `bytes.count` for frequent characters."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord(mark)))


def count_endings(text: bytearray) -> int:
    """Count the line endings."""
    found = count(text, "\n")
    return found + count(text, "\r") - text.count(b"\r\n") if b"\r" in text else found
