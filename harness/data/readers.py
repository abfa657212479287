"""Files in, typed chunks of columns out: the first step of the flow, and the only place that parses.

CSV is read in blocks of whole lines, each by Arrow's parser (the one behind pandas' `engine="pyarrow"`; it counts the
fields of every line) or by polars. What they do not understand is left to `csv_fallback`, so that all give the same
numbers or the same refusal.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.csv import ConvertOptions, ParseOptions, read_csv

from harness.config import DataConfig, Reader
from harness.data import csv_fallback
from harness.data.csv_blocks import Block, check_names, read_blocks
from harness.data.sources import is_parquet
from harness.errors import ConfigError, require
from harness.runtime.prefetch import map_ahead

PARQUET_ROWS = 1 << 17
MILLISECONDS_A_DAY = 86_400_000


class Words(NamedTuple):
    """A column of names: `values` holds each once, `codes`, int64 `[rows]`, say which; -1 is an empty field."""

    codes: np.ndarray
    values: list[str]


@dataclass(frozen=True)
class Selection:
    """What to read of a source, and how its text is written; see `DataConfig` for the fields."""

    columns: tuple[str, ...]
    categorical: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()
    date_format: str | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."

    @classmethod
    def of(cls, data: DataConfig) -> Selection:
        """Select what `data` names."""
        return cls(
            tuple(data.columns),
            frozenset(data.categorical),
            frozenset(data.dates),
            data.date_format,
            data.delimiter,
            data.encoding,
            data.decimal,
        )

    def is_text(self, name: str) -> bool:
        """Say whether a column is not read as numbers."""
        return name in self.categorical or name in self.dates


@dataclass(frozen=True)
class Chunk:
    """Rows of a source, in its order.

    Attributes:
        columns: float64 `[rows]` each, an empty field is NaN; or `Words`.
        place: Takes a row's index, and names its file and line.
        position: Bytes of the file that have been read up to here.
    """

    columns: list[np.ndarray | Words]
    place: Callable[[int], str]
    position: int


def read(path: Path, selection: Selection, reader: Reader = Reader.pandas) -> Generator[Chunk]:
    """Stream columns of a CSV or Parquet file.

    Raises:
        ConfigError: A column is missing, a line has more or fewer fields than the header, or a field that should be is
            no number that float32 can hold.
    """
    if is_parquet(path):
        chunks = _read_parquet(path, selection)
    else:
        blocks = read_blocks(path, selection.columns, selection.delimiter, selection.encoding)
        chunks = map_ahead(partial(_parse, selection=selection, reader=reader), blocks)
    with contextlib.closing(chunks):
        for chunk in chunks:
            for name, values in zip(selection.columns, chunk.columns, strict=True):
                if isinstance(values, np.ndarray):
                    _check_range(name, values, chunk.place)
            yield chunk


def read_chunks(path: Path, columns: Sequence[str]) -> Generator[np.ndarray]:
    """Stream numeric `columns` of a file as float64 arrays `[rows, columns]`; otherwise like `read`."""
    with contextlib.closing(read(path, Selection(tuple(columns)))) as chunks:
        for chunk in chunks:
            yield np.stack([np.asarray(values) for values in chunk.columns], axis=1)


def _parse(block: Block, selection: Selection, reader: Reader) -> Chunk:
    """Parse one block by the fastest way that understands it."""
    found = None
    if not block.odd:  # Else both would take all that follows an open quote for one field.
        found = _parse_with_polars(block, selection) if reader is Reader.polars else None
        found = found or _parse_with_arrow(block, selection)
    found = found or csv_fallback.read_texts(block, selection.columns)
    place = partial(csv_fallback.place, block)
    columns = [_typed(block, name, values, selection) for name, values in zip(selection.columns, found, strict=True)]
    return Chunk(columns, place, block.position)


def _typed(
    block: Block, name: str, values: np.ndarray | pd.Series | list[str], selection: Selection
) -> np.ndarray | Words:
    """Turn a column as a parser gives it, numbers or text, into what a chunk has."""
    if isinstance(values, np.ndarray):
        return values
    if not selection.is_text(name):
        return csv_fallback.to_numbers(block, name, list(values), selection.decimal)
    text = pd.Series(values, dtype="str")
    text = text.mask(text.isin(csv_fallback.EMPTY))
    if name in selection.dates:
        return _to_days(name, text, selection.date_format, partial(csv_fallback.place, block))
    codes, words = pd.factorize(text)
    return Words(codes, list(words))


def _indices(block: Block, selection: Selection) -> tuple[list[str], set[str]]:
    """Return what the block's own header calls the columns, and those of them that are text."""
    names = [block.index(name) for name in selection.columns]
    return names, {index for index, name in zip(names, selection.columns, strict=True) if selection.is_text(name)}


def _parse_with_arrow(block: Block, selection: Selection) -> list[np.ndarray | pd.Series] | None:
    """Parse a block as pandas' `engine="pyarrow"` would; None means that something in it is unusual.

    pandas itself takes 3 ms a block, a quarter of the parser's time, to prepare what is the same for all of them.
    """
    names, texts = _indices(block, selection)
    try:
        table = read_csv(
            pa.BufferReader(block.data),
            parse_options=ParseOptions(delimiter=block.delimiter),
            convert_options=ConvertOptions(
                include_columns=names,
                column_types={index: pa.string() if index in texts else pa.float64() for index in names},
                decimal_point=selection.decimal,
                null_values=list(csv_fallback.EMPTY),
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid:
        return None
    found = {index: table[index].to_pandas() if index in texts else table[index].to_numpy() for index in names}
    if any(_has_nan(found[index], table[index].null_count) for index in names if index not in texts):
        return None
    return [found[index] for index in names]


def _has_nan(values: np.ndarray, empty: int) -> bool:
    """Say whether more than `empty` fields are NaN: the parsers take NAN and nan(x) for numbers, and we do not."""
    return math.isnan(values.sum()) and int(np.isnan(values).sum()) > empty


def _parse_with_polars(block: Block, selection: Selection) -> list[np.ndarray | pd.Series] | None:
    """Parse a block with polars; None means that something in it is unusual, or may be.

    Polars passes over surplus fields, and fills up missing ones. That there are none follows from two things: each line
    has a last field, and there are as many delimiters in all as these lines need.
    """
    import polars as pl

    if selection.decimal != ".":
        return None  # It would take both marks for one.
    names, texts = _indices(block, selection)
    last = str(len(block.names) - 1)
    try:
        frame = pl.read_csv(
            io.BytesIO(block.data),
            columns=list({*names, last}),
            schema_overrides={index: pl.Float64 for index in names if index not in texts},
            infer_schema=False,
            separator=block.delimiter,
        )
    except pl.exceptions.PolarsError:
        return None
    delimiters = np.count_nonzero(np.frombuffer(block.data, np.uint8) == ord(block.delimiter))
    if frame[last].null_count() or delimiters != (len(frame) + 1) * (len(block.names) - 1):
        return None
    if any(frame[index].is_nan().any() for index in names if index not in texts):
        return None
    return [
        pd.Series(frame[index].to_list(), dtype="str") if index in texts else frame[index].fill_null(np.nan).to_numpy()
        for index in names
    ]


def _read_parquet(path: Path, selection: Selection) -> Generator[Chunk]:
    first_row = 0
    try:
        with pq.ParquetFile(path) as file:
            check_names(path, file.schema_arrow.names, selection.columns)
            size = path.stat().st_size
            for batch in file.iter_batches(PARQUET_ROWS, columns=list(selection.columns)):
                rows = range(first_row, first_row + batch.num_rows)
                place = partial(_row_of, path, first_row)
                columns = [_from_arrow(name, batch.column(name), selection, place) for name in selection.columns]
                first_row = rows.stop
                yield Chunk(columns, place, size * rows.stop // max(file.metadata.num_rows, 1))
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"data.path expected a Parquet file. Received: {path} ({reason}).") from error


def _row_of(path: Path, first_row: int, row: int) -> str:
    return f"{path}, row {first_row + row + 1}"


def _from_arrow(name: str, values: pa.Array, selection: Selection, place: Callable[[int], str]) -> np.ndarray | Words:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if name in selection.categorical:
        codes, words = pd.factorize(values.cast(pa.string()).to_pandas())
        return Words(codes, list(words))
    if name in selection.dates and pa.types.is_temporal(kind):
        days = values.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).cast(pa.float64())
        return days.to_numpy(zero_copy_only=False) / MILLISECONDS_A_DAY
    if name in selection.dates:
        return _to_days(name, values.cast(pa.string()).to_pandas(), selection.date_format, place)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    require(number or pa.types.is_null(kind), f"{name} expected numbers", f"a column of type {kind}, {place(0)}")
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _to_days(name: str, text: pd.Series, form: str | None, place: Callable[[int], str]) -> np.ndarray:
    """Return dates as days since 1970-01-01, NaN where there is none."""
    try:
        times = pd.to_datetime(text, format=form or "ISO8601", errors="coerce", utc=True).dt.as_unit("ms")
    except ValueError as error:
        raise ConfigError(f"data.date_format expected a format of strptime. Received: {form} ({error}).") from error
    bad = (times.isna() & text.notna()).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise ConfigError(
            f"{name} expected dates {f'like {form}' if form else 'as ISO 8601 has them'}. "
            f"Received: {text.iloc[row]!r} in {place(row)}. Set data.date_format, as to %d/%m/%Y."
        )
    milliseconds = times.to_numpy("datetime64[ms]")
    return np.where(np.isnat(milliseconds), np.nan, milliseconds.astype(np.int64) / MILLISECONDS_A_DAY)


def _check_range(name: str, values: np.ndarray, place: Callable[[int], str]) -> None:
    largest = np.finfo(np.float32).max
    if not len(values) or (values.min() >= -largest and values.max() <= largest):
        return
    too_large = np.abs(values) > largest
    if too_large.any():
        row = int(too_large.argmax())
        raise ConfigError(f"{name} expected numbers that float32 can hold. Received: {values[row]:g} in {place(row)}.")
