"""Parses a block line by line: slowly, but exact about what is wrong and where.

It reads what Arrow's parser cannot, so that a CSV means the same whichever of the two reads it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from harness.data.csv_blocks import LONGEST, Block
from harness.errors import ConfigError, require

EMPTY = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"}
    | {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""Fields that have no value: pandas' own list."""

csv.field_size_limit(LONGEST)
_END = "\0end of block"


def read_texts(block: Block, columns: Sequence[str]) -> list[list[str]]:
    """Return the fields of `columns` as text, an empty string where there is no value."""
    records = [record for _, record in _records(block)]
    indices = [block.names.index(name) for name in columns]
    return [["" if record[index] in EMPTY else record[index] for record in records] for index in indices]


def to_numbers(block: Block, name: str, texts: Sequence[str], decimal: str) -> np.ndarray:
    """Return fields as numbers, float64 `[rows]`, NaN where there is no value."""
    values = pd.Series(texts, dtype="str").str.strip()
    if decimal != ".":
        # A point is then no decimal mark.
        values = values.str.replace(".", "?", regex=False).str.replace(decimal, ".", regex=False)
    numbers = np.asarray(pd.to_numeric(values.where(values != ""), errors="coerce"), np.float64)
    bad = np.isnan(numbers) & (values != "").to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise ConfigError(f"{locate(block, row)}: {name} is {texts[row]!r}, not a number.")
    return numbers


def locate(block: Block, row: int) -> str:
    """Name a row of a block by its file and the line where it begins."""
    line, _ = next(itertools.islice(_records(block), row, None))
    return f"{block.address}, line {line}"


def _records(block: Block) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the fields of each row."""
    lines = itertools.chain(io.StringIO(str(block.data[block.start :], "utf-8"), newline=""), [_END])
    # If a quote is open somewhere, the text after an apparent closing quote shows where.
    reader = csv.reader(lines, delimiter=block.delimiter, strict=block.odd)
    line = block.first_line
    with contextlib.suppress(csv.Error):  # A field is too long: its end is missing.
        for record in reader:
            if record == [_END]:
                return
            if record and record[-1].endswith(_END):
                break
            if record and not (len(record) == 1 and record[0].isspace()):
                require(
                    len(record) == len(block.names),
                    f"{block.address}, line {line}: {len(record)} fields, but the header has {len(block.names)}. "
                    "Fix the line, or quote the field that contains a delimiter or a line break.",
                )
                yield line, record
            line = block.first_line + reader.line_num
    raise ConfigError(f"{block.address}, line {line}: a quote is not closed. Fix the line.")
