"""A block of lines read one by one: slow, and exact in what it refuses and where.

The fast readers leave to this module what they do not understand, so that all agree on what a CSV means, and a fault is
told by its line.
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
    """Return the fields of `columns` as text, an empty string where there is no value.

    Raises:
        ConfigError: A line has more or fewer fields than the header, or a quote is not closed.
    """
    index = [block.names.index(name) for name in columns]
    texts: list[list[str]] = [[] for _ in columns]
    for _, record in _records(block):
        for text, i in zip(texts, index, strict=True):
            text.append("" if record[i] in EMPTY else record[i])
    return texts


def to_numbers(block: Block, name: str, texts: Sequence[str], decimal: str) -> np.ndarray:
    """Return fields as numbers, float64 `[rows]`, NaN where there is none.

    Raises:
        ConfigError: One of them is no number.
    """
    values = pd.Series(texts, dtype="str").str.strip()
    if decimal != ".":
        # Neither mark may stand for the other.
        values = values.str.replace(".", "?", regex=False).str.replace(decimal, ".", regex=False)
    numbers = np.asarray(pd.to_numeric(values.where(values != ""), errors="coerce"), np.float64)
    bad = np.isnan(numbers) & (values != "").to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise ConfigError(f"{name} expected numbers. Received: {texts[row]!r} in {place(block, row)}.")
    return numbers


def place(block: Block, row: int) -> str:
    """Name a row of a block by its file and the line where it begins."""
    for index, (line, _) in enumerate(_records(block)):
        if index == row:
            return f"{block.path}, line {line}"
    raise IndexError(f"the block has no row {row}")


def _records(block: Block) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the fields of each row."""
    lines = itertools.chain(io.StringIO(str(block.lines, "utf-8"), newline=""), [_END])
    # Where a quote is open somewhere, one that seems to close it is told by what follows.
    reader = csv.reader(lines, delimiter=block.delimiter, strict=block.odd)
    line = block.first_line
    with contextlib.suppress(csv.Error):  # A field too long: its end is missing.
        for record in reader:
            if record == [_END]:
                return
            if record and record[-1].endswith(_END):
                break
            if record and not (len(record) == 1 and record[0].isspace()):
                _check_fields(block, line, record)
                yield line, record
            line = block.first_line + reader.line_num
    raise ConfigError(
        f"data.path expected quotes that are closed. Received: an open one in {block.path}, line {line}. Mend the line."
    )


def _check_fields(block: Block, line: int, record: Sequence[str]) -> None:
    require(
        len(record) == len(block.names),
        f"data.path expected {len(block.names)} fields in each line, as in the header",
        f"{len(record)} in {block.path}, line {line}",
        "Mend the line, or quote the field that holds a delimiter or a line break.",
    )
