"""Turns a text file into a plain CSV: removes comments, preambles, footers and spaces, but keeps line numbers.

Only files whose dialect needs it are rewritten; the others are parsed as they are.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import Any

from harness.config.dialect import WHITESPACE, Dialect
from harness.data.csv.lines import LONGEST, read_line, rest_of_ending

BLOCK_BYTES = 1 << 20


def rewritten(stream: io.BufferedReader, dialect: Dialect) -> io.BufferedReader:
    """Return the UTF-8 text of a stream as a plain CSV, delimited by `dialect.separator`, with as many lines."""
    return io.BufferedReader(_Rewritten(stream, dialect), BLOCK_BYTES)


class _Rewritten(io.RawIOBase):
    """Rewrites whole lines, a block at a time."""

    def __init__(self, stream: io.BufferedReader, dialect: Dialect) -> None:
        self._stream = stream
        self._pattern, self._replacements = _pattern(dialect, is_last=False)
        self._last_pattern, _ = _pattern(dialect, is_last=True)
        self._skip, self._footer = dialect.skip_rows, dialect.skip_footer
        self._held = b""  # Read but not yet rewritten: the last lines, or an open quoted field.
        self._ready = memoryview(b"")
        self._is_over, self._is_first = False, True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._is_over:
            self._ready = memoryview(self._next())
        taken, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def _next(self) -> bytes:
        """Return the next rewritten lines; there may be none even if there are more to come."""
        lines = self._stream.read(BLOCK_BYTES)
        if lines:
            is_whole = lines.endswith((b"\n", b"\r"))
            lines += rest_of_ending(self._stream, lines) if is_whole else read_line(self._stream)
        if self._is_first:
            lines, self._is_first = lines.removeprefix(codecs.BOM_UTF8), False
        self._is_over = not lines
        blank, lines = self._skipped(lines)
        lines, kept = self._without_footer(self._held + lines)
        self._held = b""
        pattern = self._last_pattern if self._is_over else self._pattern
        if pattern is None:
            self._held = kept
            return blank + lines

        def replaced(found: re.Match[bytes]) -> bytes:
            return self._replacements.get(found.lastgroup or "", found[0])

        if not self._is_over and (left := _open_at(pattern, lines)) is not None and len(lines) - left < LONGEST:
            lines, kept = lines[:left], lines[left:] + kept
        self._held = kept
        return blank + pattern.sub(replaced, lines)

    def _skipped(self, lines: bytes) -> tuple[bytes, bytes]:
        """Replace the lines to skip with blank ones."""
        if not self._skip:
            return b"", lines
        first = lines.splitlines(keepends=True)
        count = min(self._skip, len(first))
        self._skip -= count
        return b"\n" * count, b"".join(first[count:])

    def _without_footer(self, lines: bytes) -> tuple[bytes, bytes]:
        """Split off the last lines, and hold them until it is known whether the file ends there."""
        if not self._footer:
            return lines, b""
        every = lines.splitlines(keepends=True)
        kept = b"" if self._is_over else b"".join(every[-self._footer :])
        return b"".join(every[: -self._footer]), kept


def _open_at(pattern: re.Pattern[bytes], lines: bytes) -> int | None:
    """Return the start of a quoted field that does not end within these lines."""
    if b'"' not in lines:
        return None
    return next((found.start() for found in pattern.finditer(lines) if found.lastgroup == "open"), None)


def _pattern(dialect: Dialect, *, is_last: bool) -> tuple[re.Pattern[bytes] | None, dict[str, bytes]]:
    """Return a pattern that matches quoted fields, which are kept, and text to replace; and the replacements by group.

    Only the last piece of text ends a line; other pieces may stop in front of a quoted field.
    """
    is_spaced = dialect.delimiter == WHITESPACE
    mark = re.escape(dialect.separator)
    before = rf"{mark}\r\n" + (" \t" if is_spaced else " " if dialect.skip_initial_space else "")
    # A quote opens a field only at its beginning.
    inside = r'"[^"]*(?:""[^"]*)*'
    end = r"(?=[\r\n]|\Z)" if is_last else r"(?=[\r\n])"
    groups = {"quoted": rf'(?<![^{before}]){inside}"(?!")', "open": rf"(?<![^{before}]){inside}\Z"}
    replacements: dict[str, bytes] = {}
    if dialect.comment:
        groups["comment"] = (
            rf"[ \t]*{re.escape(dialect.comment)}[^\r\n]*" if is_spaced else (rf"{re.escape(dialect.comment)}[^\r\n]*")
        )
        replacements["comment"] = b""
    if is_spaced:
        groups |= {"edge": rf"(?<![^\r\n])[ \t]+|[ \t]+{end}", "gap": r"[ \t]+"}
        replacements |= {"edge": b"", "gap": b"\t"}
    elif dialect.trailing_delimiter:
        ends = rf"{end}|(?={re.escape(dialect.comment)})" if dialect.comment else end
        groups["last"] = rf"{mark}(?:(?!{mark})[ \t])*(?:{ends})"
        replacements["last"] = b""
    if dialect.skip_initial_space and not is_spaced:
        groups["space"] = rf"(?<![^{mark}\r\n]) +"
        replacements["space"] = b""
    if not replacements:
        return None, {}
    return re.compile("|".join(f"(?P<{name}>{text})" for name, text in groups.items()).encode()), replacements
