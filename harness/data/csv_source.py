"""CSV files as typed chunks.

A file is read in blocks of whole lines, parsed by Arrow (the parser behind pandas' `engine="pyarrow"`, which counts the
fields of every line). Blocks that it cannot parse go to `csv_fallback`, which returns the same numbers or reports what
is wrong and in which line.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow.csv import ConvertOptions, ParseOptions, read_csv

from harness.data import csv_fallback
from harness.data.csv_blocks import Block, read_blocks, read_header
from harness.data.source import Chunk, Selection, Source, Words, to_days
from harness.runtime.prefetch import map_ahead


class CsvSource(Source):
    """Delimited text with a header, plain or compressed, in a file or a stream."""

    @classmethod
    def recognizes(cls, address: str, start: bytes) -> bool:
        """Accept any file."""
        return True

    def names(self) -> list[str]:
        """Return the header."""
        return read_header(self.file, self.selection)

    def read(self) -> Generator[Chunk]:
        """Read blocks of lines and parse them ahead of use."""
        return map_ahead(partial(_parse, selection=self.selection), read_blocks(self.file, self.selection))


def _parse(block: Block, selection: Selection) -> Chunk:
    # Arrow would treat everything after an open quote as one field.
    found = _parse_with_arrow(block, selection) if block.is_sound else None
    found = found or csv_fallback.read_texts(block, selection.columns)
    columns = [_to_column(block, name, each, selection) for name, each in zip(selection.columns, found, strict=True)]
    return Chunk(columns, partial(csv_fallback.locate, block), block.position)


def _to_column(block: Block, name: str, values: Any, selection: Selection) -> np.ndarray | Words:
    """Convert a column from either parser, as numbers or text, to a column of a chunk."""
    if isinstance(values, np.ndarray):
        return values
    if not selection.is_text(name):
        return csv_fallback.to_numbers(block, name, list(values), selection.decimal)
    text = pd.Series(values, dtype="str")
    text = text.mask(text.isin(csv_fallback.EMPTY))
    if name in selection.dates:
        return to_days(name, text, selection.date_format, partial(csv_fallback.locate, block))
    codes, words = pd.factorize(text)
    return Words(codes, list(words))


def _parse_with_arrow(block: Block, selection: Selection) -> list[np.ndarray | pd.Series] | None:
    """Parse a block as pandas' `engine="pyarrow"` would; return None if it contains anything unusual.

    Calling pandas would cost 3 ms of setup per block, a quarter of the parser's own time.
    """
    names = {str(block.names.index(name)): name for name in selection.columns}
    texts = {index for index, name in names.items() if selection.is_text(name)}
    try:
        table = read_csv(
            pa.BufferReader(block.data),
            parse_options=ParseOptions(delimiter=block.delimiter),
            convert_options=ConvertOptions(
                include_columns=list(names),
                column_types={index: pa.string() if index in texts else pa.float64() for index in names},
                decimal_point=selection.decimal,
                null_values=list(csv_fallback.EMPTY),
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid:
        return None
    found = {index: table[index].to_pandas() if index in texts else table[index].to_numpy() for index in names}
    for index in names.keys() - texts:
        # Arrow accepts NAN and nan(x) as numbers; here they are rejected.
        if math.isnan(found[index].sum()) and int(np.isnan(found[index]).sum()) > table[index].null_count:
            return None
    return list(found.values())
