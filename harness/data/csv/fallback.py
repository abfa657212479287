"""Parses a block line by line: slow, but it reports exactly what is wrong and where.

It handles what Arrow's parser cannot, and gives the same results wherever both can read a CSV.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence

from harness.data.csv.blocks import Block
from harness.data.csv.lines import END, BadRecord, records
from harness.errors import ConfigError, require


def read_texts(block: Block, columns: Sequence[str]) -> list[list[str]]:
    """Return the fields of `columns` as written."""
    records = [record for _, record in _records(block)]
    indices = [block.names.index(name) for name in columns]
    return [[record[index] for record in records] for index in indices]


def locate(block: Block, row: int) -> str:
    """Return the file of a row and the line on which the row begins, as text."""
    line, _ = next(itertools.islice(_records(block), row, None))
    return f"{block.address}, line {line}"


def _records(block: Block) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the fields of each row."""
    lines = itertools.chain(io.StringIO(str(block.data[block.start :], "utf-8"), newline=""), [END])
    line = block.first_line
    try:
        # If a quote is missing, text after an apparent closing quote shows where.
        for number, record in records(lines, block.delimiter, strict=not block.is_sound):
            line = block.first_line + number
            if record == [END]:
                return
            if record[-1].endswith(END):
                break
            require(
                len(record) == len(block.names),
                f"{block.address}, line {line}: {len(record)} fields, but the header has {len(block.names)}. "
                "Fix the line, or quote the field that contains a delimiter or a line break.",
            )
            yield line, record
    except BadRecord as error:  # If a field is too long, its closing quote must be missing.
        line = block.first_line + error.line
    raise ConfigError(f"{block.address}, line {line}: unclosed quote. Fix the line.")
