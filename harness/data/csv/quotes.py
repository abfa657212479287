"""Determines whether a piece of a CSV ends between lines or inside a quoted field."""

from __future__ import annotations

import io
import itertools
from collections import deque
from enum import Enum, auto

import numpy as np

from harness.data.csv.lines import END, BadRecord, count, records


class Quotes(Enum):
    """The state of the quotes at the end of a piece of text."""

    closed = auto()
    open = auto()
    misplaced = auto()
    """The number of quotes is odd, and text follows a closing quote, so a quote is missing somewhere."""


def find_quotes(text: bytes | bytearray, delimiter: str) -> Quotes:
    """Return the state of the quotes at the end of `text`, which begins with a line."""
    quotes = count(text, '"') if b'"' in text else 0
    if not quotes:
        return Quotes.closed
    if not _has_stray_quotes(text, delimiter):
        return Quotes.open if quotes % 2 else Quotes.closed
    if _last_line(text, delimiter) != [END]:
        return Quotes.open
    if quotes % 2:
        try:
            _last_line(text, delimiter, strict=True)
        except BadRecord:
            return Quotes.misplaced
    return Quotes.closed


def _last_line(text: bytes | bytearray, delimiter: str, *, strict: bool = False) -> list[str]:
    """Return the fields of the last record of `text` followed by `END`."""
    lines = itertools.chain(io.StringIO(text.decode(errors="replace"), newline=""), [END])
    ((_, last),) = deque(records(lines, delimiter, strict=strict), maxlen=1)
    return last


def _has_stray_quotes(text: bytes | bytearray, delimiter: str) -> bool:
    """Return True if a quote is part of an unquoted field, as in `5" pipe`: then quotes do not come in pairs."""
    characters = np.frombuffer(text, np.uint8)
    opening = np.flatnonzero(characters == ord('"'))[::2]
    if len(opening) and opening[0] == 0:
        opening = opening[1:]
    may_precede = np.zeros(256, bool)
    may_precede[[*f'{delimiter}\r\n"'.encode()]] = True
    return not bool(may_precede[characters[opening - 1]].all())
