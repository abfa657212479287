"""Turns a text file into a plain CSV: removes comments, preambles, footers and spaces, but keeps line numbers.

Only files whose dialect needs it are rewritten; the others are parsed as they are.
"""

from __future__ import annotations

import codecs
import io
import itertools
import re
from collections.abc import Iterator

from harness.config.dialect import WHITESPACE, Dialect
from harness.data.csv.lines import LONGEST, rest_of_line
from harness.data.storage.pieces import stream_of

BLOCK_BYTES = 1 << 20


def rewritten(stream: io.BufferedReader, dialect: Dialect) -> io.BufferedReader:
    """Return the UTF-8 text of a stream as a plain CSV, delimited by `dialect.separator`, with as many lines."""
    return stream_of(_rewritten(stream, dialect), BLOCK_BYTES)


def _rewritten(stream: io.BufferedReader, dialect: Dialect) -> Iterator[bytes]:
    """Rewrite whole lines, a block at a time."""
    pattern, replacements = _pattern(dialect, is_last=False)
    last_pattern, _ = _pattern(dialect, is_last=True)

    def replaced(found: re.Match[bytes]) -> bytes:
        return replacements.get(found.lastgroup or "", found[0])

    skip = dialect.skip_rows
    held = b""  # Read but not yet rewritten: the last lines, or an open quoted field.
    for block in itertools.chain(_blocks(stream), [b""]):
        is_last = not block
        skipped = block.splitlines(keepends=True)[:skip] if skip else []
        skip -= len(skipped)
        yield b"\n" * len(skipped)
        lines = held + block[sum(map(len, skipped)) :]
        lines, held = _without_footer(lines, dialect.skip_footer, is_last=is_last)
        if pattern and last_pattern:
            if not is_last and (left := _open_at(pattern, lines)) is not None and len(lines) - left < LONGEST:
                lines, held = lines[:left], lines[left:] + held
            lines = (last_pattern if is_last else pattern).sub(replaced, lines)
        yield lines


def _blocks(stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield the text in blocks of whole lines, without a byte order mark."""
    mark = codecs.BOM_UTF8
    while lines := stream.read(BLOCK_BYTES):
        yield (lines + rest_of_line(stream, lines)).removeprefix(mark)
        mark = b""


def _without_footer(lines: bytes, count: int, *, is_last: bool) -> tuple[bytes, bytes]:
    """Split off the last `count` lines, and keep them unless the file ends there."""
    if not count:
        return lines, b""
    every = lines.splitlines(keepends=True)
    return b"".join(every[:-count]), b"" if is_last else b"".join(every[-count:])


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
