"""The rows of a file as text, which `harness predict --keep` copies in front of the predictions."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from harness.config.dialect import Header
from harness.data.csv.header import read_header
from harness.data.csv.source import CsvSource
from harness.data.csv.text import open_text
from harness.data.formats import open_source
from harness.data.selection import Words
from harness.data.source import Source


def kept_rows(source: Source) -> Generator[pd.DataFrame, int]:
    """Yield the next rows of a file, all columns as text: as many as the number sent; the first yield is empty."""
    return _of_text(source) if isinstance(source, CsvSource) else _of_values(source)


def no_columns() -> Generator[pd.DataFrame, int]:
    """Yield rows without columns: as many as the number sent; the first yield is empty."""
    count = 0
    while True:
        count = yield pd.DataFrame(index=range(count))


def _of_text(source: Source) -> Generator[pd.DataFrame, int]:
    """Read a text file; fields stay as written."""
    dialect = source.selection.dialect
    with open_text(source.file, dialect) as (text, _):
        count = yield pd.DataFrame()
        if dialect.header is Header.first:
            read_header(source.file.address, text, dialect)
        form: Any = {"sep": dialect.separator, "header": None, "index_col": False, "keep_default_na": False}
        reader: Any = pd.read_csv(text, dtype=str, iterator=True, **form)
        with reader:
            while True:
                count = yield reader.get_chunk(count).reset_index(drop=True)


def _of_values(source: Source) -> Generator[pd.DataFrame, int]:
    """Read a file of typed values, which become text in the same way as categories do."""
    names, count, left = source.names(), 0, pd.DataFrame()
    dialect = replace(source.selection.dialect, na_values=[])
    texts = {"categorical": frozenset(names), "dates": {}, "dialect": dialect}
    selection = replace(source.selection, columns=tuple(names), **texts)
    chunks: Any = open_source(source.file.address, selection).chunks()
    while True:
        while len(left) < count:
            left = pd.concat([left, _frame(next(chunks).columns)], ignore_index=True)
        some, left = left.iloc[:count].reset_index(drop=True), left.iloc[count:]
        count = yield some


def _frame(columns: list[Words]) -> pd.DataFrame:
    texts = [np.array([*column.values, ""], object)[column.codes] for column in columns]
    return pd.DataFrame(dict(enumerate(texts)), dtype="str")
