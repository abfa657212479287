"""CSV files as typed chunks.

A file is read in blocks of whole lines, which are parsed by Arrow (the parser behind pandas' `engine="pyarrow"`, which
counts the fields of every line). Blocks that Arrow cannot parse go to `fallback`, which returns the same numbers, or
reports what is wrong and on which line.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Generator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow.csv import ConvertOptions, ParseOptions, read_csv

from harness.config.dialect import Dialect, Header
from harness.data.csv import fallback as csv_fallback
from harness.data.csv.blocks import Block, read_blocks, read_names
from harness.data.selection import Chunk, Selection
from harness.data.source import Source
from harness.data.text_values import to_column
from harness.data.vocabulary import is_number
from harness.formatting import listed
from harness.runtime.prefetch import map_ahead


class CsvSource(Source):
    """Delimited text with a header, plain or compressed, in a file or a stream."""

    keys = frozenset(key.name for key in dataclasses.fields(Dialect))

    @classmethod
    def recognizes(cls, address: str, start: bytes) -> bool:
        """Accept any file."""
        return True

    def names(self) -> list[str]:
        """Return the header."""
        return read_names(self.file, self.selection.dialect)

    def doubt(self) -> str:
        """Warn about a header that contains numbers."""
        dialect = self.selection.dialect
        if self.file.is_stream or dialect.header is Header.none or dialect.names:
            return ""
        numbers = [name for name in self.names() if is_number(name)]
        return (
            f"The first line of {self.file.address} is read as column names, but contains numbers "
            f"({listed(numbers, 3)}). If it is data, set data.header=none."
            if numbers
            else ""
        )

    def read(self) -> Generator[Chunk]:
        """Read blocks of lines, and parse them ahead of time."""
        return map_ahead(partial(_parse, selection=self.selection), read_blocks(self.file, self.selection))


def _parse(block: Block, selection: Selection) -> Chunk:
    # Arrow would treat everything after an open quote as one field.
    found = _parse_with_arrow(block, selection) if block.is_sound else None
    found = found or csv_fallback.read_texts(block, selection.columns)
    locate, booleans = partial(csv_fallback.locate, block), {}
    columns = [
        values if isinstance(values, np.ndarray) else to_column(name, _text(values), selection, locate, booleans)
        for name, values in zip(selection.columns, found, strict=True)
    ]
    return Chunk(columns, locate, block.position, booleans)


def _text(values: Any) -> pd.Series:
    return pd.Series(values, dtype="str")


def _parse_with_arrow(block: Block, selection: Selection) -> list[np.ndarray | pd.Series] | None:
    """Parse a block as pandas' `engine="pyarrow"` would; return None if it is unusual.

    Numbers that Arrow cannot parse are returned as text. Calling pandas would add 3 ms of setup per block, a quarter of
    the parser's own time.
    """
    names = {str(block.names.index(name)): name for name in selection.columns}
    texts = {index for index, name in names.items() if selection.is_text(name)}
    if not selection.dialect.rewrites_numbers and (found := _read(block, selection, texts, names.keys())) is not None:
        return found
    return _read(block, selection, names.keys(), names.keys())


def _read(
    block: Block, selection: Selection, texts: Collection[str], names: Collection[str]
) -> list[np.ndarray | pd.Series] | None:
    """Parse the columns `texts` as text and the others in `names` as numbers; return None if Arrow cannot."""
    dialect = selection.dialect
    try:
        table = read_csv(
            pa.BufferReader(block.data),
            parse_options=ParseOptions(delimiter=block.delimiter),
            convert_options=ConvertOptions(
                include_columns=list(names),
                column_types={index: pa.string() if index in texts else pa.float64() for index in names},
                decimal_point=dialect.decimal,
                null_values=list(dialect.empty),
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid:
        return None
    found = {index: table[index].to_pandas() if index in texts else table[index].to_numpy() for index in names}
    for index in set(names) - set(texts):
        # Arrow accepts NAN and nan(x) as numbers; here they are rejected.
        if math.isnan(found[index].sum()) and int(np.isnan(found[index]).sum()) > table[index].null_count:
            return None
        if marks := dialect.empty_numbers:
            values = found[index]
            found[index] = np.where(np.isin(values, marks), np.nan, values)
    return list(found.values())
