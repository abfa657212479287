"""`Source`: the interface between file formats and tables.

To add a format, write a subclass in its own module and add it to `harness.data.formats.FORMATS`.
"""

from __future__ import annotations

import contextlib
import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from harness.config import DataConfig
from harness.data.files import File
from harness.errors import ConfigError, require

BLOCK_BYTES = 8 << 20
"""Bytes parsed at once: enough to amortize the cost of a call, few enough to hold three such blocks in memory."""

FLOAT32_MAX = np.finfo(np.float32).max
MILLISECONDS_A_DAY = 86_400_000


class Words(NamedTuple):
    """A column of text: `values` holds each word once; `codes`, int64 `[rows]`, index into it, with -1 for empty."""

    codes: np.ndarray
    values: list[str]


@dataclass(frozen=True)
class Selection:
    """What to read from a source, and how its text is formatted; see `DataConfig` for the fields.

    Attributes:
        block_bytes: Bytes of text parsed at once. Results do not depend on it.
    """

    columns: tuple[str, ...]
    categorical: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()
    date_format: str | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    block_bytes: int = BLOCK_BYTES

    @classmethod
    def of(cls, data: DataConfig, block_bytes: int = BLOCK_BYTES) -> Selection:
        """Select the columns that `data` names."""
        texts = frozenset(data.categorical), frozenset(data.dates), data.date_format
        return cls(tuple(data.columns), *texts, data.delimiter, data.encoding, data.decimal, block_bytes)

    def is_text(self, name: str) -> bool:
        """Return True if a column is not read as numbers."""
        return name in self.categorical or name in self.dates


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a source.

    Attributes:
        columns: One entry per selected column: float64 `[rows]`, NaN where a field is empty, or `Words` if the column
            is categorical.
        locate: Returns the file and line of a row of the chunk, for messages.
        position: Bytes of the file read so far.
    """

    columns: list[np.ndarray | Words]
    locate: Callable[[int], str]
    position: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        first = self.columns[0]
        return len(first.codes if isinstance(first, Words) else first)


class Source(ABC):
    """The rows of one local or remote file; each format has a subclass."""

    def __init__(self, file: File, selection: Selection) -> None:
        self.file = file
        self.selection = selection

    @classmethod
    @abstractmethod
    def recognizes(cls, address: str, start: bytes) -> bool:
        """Return True if a file is in this format, judging by its address and first bytes (unknown for a stream)."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all columns in the file."""

    @abstractmethod
    def read(self) -> Generator[Chunk]:
        """Read the selected columns from start to end, in constant memory.

        Raises:
            ConfigError: A column is missing, or a row is invalid.
        """

    def chunks(self) -> Generator[Chunk]:
        """Do the same as `read`, but reject numbers that float32 cannot represent."""
        with contextlib.closing(self.read()) as chunks:
            for chunk in chunks:
                for name, values in zip(self.selection.columns, chunk.columns, strict=True):
                    if isinstance(values, np.ndarray):
                        _check_range(name, values, chunk.locate)
                yield chunk


def check_names(address: str, names: Sequence[str], columns: Sequence[str], hint: str = "") -> None:
    """Check that all `columns` are among the `names` in a file.

    Raises:
        ConfigError: Columns are missing; the message ends with `hint`, similar names, or the names in the file.
    """
    missing = [name for name in columns if name not in names]
    if not missing:
        return
    alike = {name.casefold(): name for name in names}
    close = [alike[name] for name in difflib.get_close_matches(missing[0].casefold(), alike, n=3, cutoff=0.5)]
    if not hint and close:
        hint = f"Did you mean {' or '.join(close)}?"
    hint = hint or f"It has: {', '.join(names[:30])}{', ...' if len(names) > 30 else ''}."
    raise ConfigError(f"{address} has no column {', '.join(missing)}. {hint}")


def to_column(name: str, values: pa.Array, selection: Selection, locate: Callable[[int], str]) -> np.ndarray | Words:
    """Convert a typed column to a column of a chunk."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if name in selection.categorical:
        codes, words = pd.factorize(_to_words(values).to_pandas())
        return Words(codes, list(words))
    if name in selection.dates and pa.types.is_temporal(kind):
        days = values.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).cast(pa.float64())
        return days.to_numpy(zero_copy_only=False) / MILLISECONDS_A_DAY
    if name in selection.dates:
        return to_days(name, values.cast(pa.string()).to_pandas(), selection.date_format, locate)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    require(number or pa.types.is_null(kind), f"{locate(0)}: {name} has type {kind}, which is not numeric.")
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _to_words(values: pa.Array) -> pa.Array:
    """Return categories as text; numbers as a CSV would have them in their shortest form."""
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64(), safe=False)
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        # NaN is an empty field, and adding 0 turns -0 into 0.
        values = pa.array(numbers + numbers.dtype.type(0), values.type, from_pandas=True)
    return values.cast(pa.string())


def to_days(name: str, text: pd.Series, form: str | None, locate: Callable[[int], str]) -> np.ndarray:
    """Return dates as days since 1970-01-01, float64 `[rows]`, NaN for an empty field."""
    try:
        times = pd.to_datetime(text, format=form or "ISO8601", errors="coerce", utc=True).dt.as_unit("ms")
    except ValueError as error:
        raise ConfigError(f"data.date_format: {form} is not a valid strptime format ({error}).") from error
    bad = (times.isna() & text.notna()).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise ConfigError(
            f"{locate(row)}: {name} is {text.iloc[row]!r}, not a date {f'like {form}' if form else 'in ISO 8601'}. "
            "Set data.date_format, for example to %d/%m/%Y."
        )
    milliseconds = times.to_numpy("datetime64[ms]")
    return np.where(np.isnat(milliseconds), np.nan, milliseconds.astype(np.int64) / MILLISECONDS_A_DAY)


def _check_range(name: str, values: np.ndarray, locate: Callable[[int], str]) -> None:
    if not len(values) or (values.min() >= -FLOAT32_MAX and values.max() <= FLOAT32_MAX):
        return
    too_large = np.abs(values) > FLOAT32_MAX
    if too_large.any():
        row = int(too_large.argmax())
        raise ConfigError(f"{locate(row)}: {name} is {values[row]:g}, which float32 cannot represent.")
