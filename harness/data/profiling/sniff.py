"""Guesses the format of a text file from its first lines. Guesses are only suggested, never applied."""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.config.dialect import DEFAULT_EMPTY, WHITESPACE, Dialect
from harness.data.csv.text import is_compressed, open_bytes
from harness.data.profiling.sniff_values import is_value, marks_of, sentinels_of, words_that_are_marks
from harness.data.storage.files import File
from harness.data.storage.local import LocalFile

SAMPLE_BYTES = 1 << 19
TAIL_BYTES = 1 << 16
DELIMITERS = ",\t;|^~:"
RARE = (WHITESPACE, ":")
"""Delimiters that occur in many texts, so they count only if no other delimiter fits."""
COMMENTS = "#%"

_TOTAL = re.compile(r"\s*(?i:(grand |sub-?)?total|sum|summe|gesamt|average|mean)\s*:?\s*")

_LINES = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Sniffed:
    """A file's likely format.

    Attributes:
        keys: Keys of `data` with values other than the defaults.
        found: Sentences about what was found.
        has_columns: Whether a delimiter splits most lines into two or more fields; True for an empty file.
    """

    keys: dict[str, Any] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    has_columns: bool = True

    @property
    def dialect(self) -> Dialect:
        """The dialect with these keys."""
        return Dialect(**self.keys)


def sniff(file: File) -> Sniffed:
    """Guess the format of a text file."""
    with open_bytes(file) as stream:
        start = stream.read(SAMPLE_BYTES)
        is_whole = len(start) < SAMPLE_BYTES
    keys: dict[str, Any] = {}
    encoding = _encoding(start)
    if encoding != "utf-8":
        keys["encoding"] = encoding
    text = start.decode(encoding, errors="replace").removeprefix("\ufeff")
    lines = _LINES.split(text)
    if not is_whole:
        lines = lines[:-1]  # The line may be cut off.
    elif lines and not lines[-1]:
        lines.pop()
    body = _without_comments(lines, keys)
    filled = [line for line in body if line.strip()]
    delimiter, width = _delimiter(filled)
    if delimiter != ",":
        keys["delimiter"] = delimiter
    tail = lines if is_whole else _tail(file, encoding)
    records = _layout(body, tail, delimiter, width, keys, is_whole=is_whole)
    found = _header(records, keys, lines)
    rows = records[1 if keys.get("header") is None else 0 :]
    if keys.get("units_row"):
        rows = rows[1:]
    columns = [[row[index] for row in rows] for index in range(len(records[0]) if records else 0)]
    if encoding in ("latin-1", "cp1252"):
        found.append(
            f"The text is not UTF-8, and {encoding} is a guess: if words look wrong, set another data.encoding, such "
            "as cp1251, gbk or shift_jis."
        )
    marks = marks_of(columns, delimiter)
    if marks.decimal == delimiter:
        found.append("Numbers have a decimal comma, but commas also separate fields: change the file's delimiter.")
    else:
        if marks.decimal != ".":
            keys["decimal"] = marks.decimal
        if marks.thousands:
            keys["thousands"] = marks.thousands
    if marks.strip:
        keys["strip"] = marks.strip
    if missing := [*marks.missing, *sentinels_of(columns, Dialect(**keys))]:
        keys["na_values"] = missing
    if columns and (kept := words_that_are_marks(columns)):
        names = ", ".join(records[0][index] for index in kept)
        keys["keep_default_na"] = False
        found.append(
            f"NA in {names} is read as text; if it marks missing values, leave out data.keep_default_na=false."
        )
    return Sniffed(keys, found, has_columns=width > 1 or not filled)


def _encoding(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if 4 * start[:1000].count(0) > len(start[:1000]):
        even, odd = start[:1000:2].count(0), start[1:1000:2].count(0)
        return "utf-16-le" if odd > even else "utf-16-be"
    decoder = codecs.getincrementaldecoder("utf-8")()
    with contextlib.suppress(UnicodeDecodeError):
        decoder.decode(start)
        return "utf-8"
    # Bytes that are control characters in Latin-1 are letters and quotes in the Windows code page.
    is_windows = re.search(rb"[\x80\x82-\x8c\x8e\x91-\x9c\x9e\x9f]", start)
    is_other = re.search(rb"[\x81\x8d\x8f\x90\x9d]", start)  # The Windows code page does not have these.
    return "cp1252" if is_windows and not is_other else "latin-1"


def _without_comments(lines: Sequence[str], keys: dict[str, Any]) -> list[str]:
    """Blank out comment lines, if there are any."""
    filled = [line for line in lines if line.strip()]
    for mark in COMMENTS:
        commented = sum(line.lstrip().startswith(mark) for line in filled)
        if commented and filled[0].lstrip().startswith(mark) and 2 * commented < len(filled) + 2:
            keys["comment"] = mark
            return ["" if line.lstrip().startswith(mark) else _cut(line, mark) for line in lines]
    return list(lines)


def _cut(line: str, mark: str) -> str:
    return line if '"' in line else line.partition(mark)[0].rstrip()


def split(line: str, delimiter: str) -> list[str]:
    """Return the fields of one line."""
    if delimiter == WHITESPACE:
        return [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', line)]
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])


def _delimiter(lines: Sequence[str]) -> tuple[str, int]:
    """Return the delimiter that splits most lines into the same number of fields, and that number."""
    # Start from the end: a preamble comes first, and column names may contain any character.
    sample = lines[: 5 + len(lines) // 2][-2000:] if len(lines) > 50 else lines
    # Some files align their columns with spaces, but also contain tabs.
    is_mixed = 2 * sum("\t" in line and "  " in line for line in sample) > len(sample)
    best, result = (0.0, 0, 0), (",", 1)
    for order, mark in enumerate([*DELIMITERS, WHITESPACE]):
        counts = Counter(len(split(line, mark)) for line in sample)
        wide = {width: times for width, times in counts.items() if width > 1}
        if not wide:
            continue
        width, times = max(wide.items(), key=lambda each: (each[1], each[0]))
        share = times / len(sample)
        is_rare = mark in RARE and not (mark == WHITESPACE and is_mixed)
        score = (round(share - (0.3 if is_rare else 0), 2), min(width, 3), -order)
        if score > best and share > 0.5:
            best, result = score, (mark, width)
    return result


def _tail(file: File, encoding: str) -> list[str]:
    """Return the last lines of an uncompressed local file; none for other files."""
    if not isinstance(file, LocalFile) or file.is_stream or encoding.startswith(("utf-16", "utf-32")):
        return []
    with file.open() as stream:
        if is_compressed(stream.peek(8)):
            return []
        stream.seek(max(0, file.size() - TAIL_BYTES))
        lines = _LINES.split(stream.read().decode(encoding, errors="replace"))[1:]
    return lines[:-1] if lines and not lines[-1] else lines


def _layout(
    body: Sequence[str], tail: Sequence[str], delimiter: str, width: int, keys: dict[str, Any], *, is_whole: bool
) -> list[list[str]]:
    """Set the keys for lines above and below the rows, and for spaces; return the records, starting with the header."""
    records = [(index, split(line, delimiter)) for index, line in enumerate(body) if line.strip()]
    counts = Counter(len(record) for _, record in records)
    if (
        delimiter != WHITESPACE
        and width > 2
        and all(len(record) == width - 1 or (len(record) == width and not record[-1].strip()) for _, record in records)
    ):
        if counts[width - 1] >= 1:
            keys["trailing_delimiter"] = True
        records = [(index, record[: width - 1]) for index, record in records]
        if counts[width - 1] >= 1:
            width -= 1
        else:
            records = [(index, [*record, ""]) for index, record in records]
    is_row = [len(record) == width and record != ["sep=", ""] for _, record in records]  # `sep=;` is for Excel.
    first = is_row.index(True) if any(is_row) else 0
    if first:
        keys["skip_rows"] = records[first][0]
    last = next((at for at in range(len(tail) - 1, -1, -1) if len(_fields(tail[at], delimiter, keys)) == width), -1)
    last -= last > 0 and _sums_up(tail[last], delimiter, keys) and not _sums_up(tail[last - 1], delimiter, keys)
    below = tail[last + 1 :]
    notes = [_fields(line, delimiter, keys) for line in below if line.strip()]
    # A row that is too short or too long is not a footer.
    is_footer = all((len(note) < width or _TOTAL.fullmatch(note[0])) and not is_value(note[0]) for note in notes)
    if last >= 0 and 0 < len(notes) < 50 and is_footer:
        keys["skip_footer"] = len(below)
        if is_whole:
            records = [(index, record) for index, record in records if index <= last]
    fields = [line for line in body if line.strip()][:1000]
    spaced = sum(bool(re.search(re.escape(delimiter) + " ", line)) for line in fields)
    if delimiter not in (WHITESPACE, "\t", " ") and 10 * spaced >= 9 * len(fields) > 0:
        keys["skip_initial_space"] = True
    return [record for _, record in records[first:] if len(record) == width]


def _sums_up(line: str, delimiter: str, keys: dict[str, Any]) -> bool:
    """Return True if a row appears to be the total of the others."""
    return bool(_TOTAL.fullmatch(next(iter(_fields(line, delimiter, keys)), "")))


def _fields(line: str, delimiter: str, keys: dict[str, Any]) -> list[str]:
    fields = split(line, delimiter) if line.strip() else []
    return fields[:-1] if keys.get("trailing_delimiter") and fields and not fields[-1].strip() else fields


def _header(records: Sequence[Sequence[str]], keys: dict[str, Any], lines: Sequence[str]) -> list[str]:
    """Set the keys for names and units; return sentences about them."""
    if len(records) < 2:
        return []
    head, rows = records[0], records[1:1000]
    numeric = [
        index
        for index in range(len(head))
        if 2 * sum(is_value(row[index]) for row in rows) > sum(bool(row[index].strip()) for row in rows) > 0
    ]
    named = [index for index in numeric if not is_value(head[index])]
    unnamed = [head[index].strip() for index in numeric if index not in named]
    if numeric and 2 * len(named) < len(numeric) and not _is_count(unnamed):
        keys["header"] = "none"
        note = "The first line looks like data, so the columns are numbered; name them with data.names."
        if names := _commented_names(lines, keys, len(head)):
            keys["names"] = names
            note = "The column names are in a comment."
        return [note]
    second = rows[0]
    others = [index for index in numeric if sum(is_value(row[index]) for row in rows[1:]) > 0.8 * len(rows[1:])]
    is_text = not any(is_value(each) for each in second)
    if len(rows) > 2 and is_text and any(second[index].strip() not in DEFAULT_EMPTY for index in others):
        keys["units_row"] = True
    return []


def _is_count(words: Sequence[str]) -> bool:
    """Return True for at least three consecutive whole numbers, such as years, which are column names."""
    if len(words) < 3 or not all(word.isdecimal() for word in words):
        return False
    return [int(word) for word in words] == list(range(int(words[0]), int(words[0]) + len(words)))


def _commented_names(lines: Sequence[str], keys: dict[str, Any], width: int) -> list[str]:
    mark = keys.get("comment")
    above = [line.strip() for line in lines[:50] if mark and line.lstrip().startswith(mark)]
    if not above:
        return []
    names = split(above[-1].lstrip(f"{mark} "), keys.get("delimiter", ","))
    return [name.strip() for name in names] if len(names) == width else []
