"""Turns typed values from Parquet and Arrow files into the values of a column."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.config.dialect import Dialect
from harness.config.objective import CLASSES_LOSS
from harness.config.overrides import override
from harness.data.selection import MILLISECONDS_A_DAY, Locate, Selection, Words
from harness.data.text_values import one_spelling, to_days
from harness.errors import require


def to_column(name: str, values: pa.Array, selection: Selection, locate: Locate) -> np.ndarray | Words:
    """Convert a typed column to a column of a chunk."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    values = _without_marks(values, selection.dialect)
    kind = values.type
    if name in selection.categorical:
        codes, words = pd.factorize(_to_words(values).to_pandas())
        return one_spelling(codes, list(words))
    if name in selection.dates and pa.types.is_temporal(kind):
        return _to_milliseconds(values) / MILLISECONDS_A_DAY
    if name in selection.dates:
        return to_days(name, values.cast(pa.string()).to_pandas(), selection.dates[name], locate)
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif pa.types.is_time(kind) or pa.types.is_duration(kind):
        return _to_seconds(values)
    else:
        require(
            _is_number(kind) or pa.types.is_null(kind),
            f"{locate(0)}: {name} has type {kind}, which is not numeric.{_remedy(name, kind, selection)}",
        )
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def booleans_of(schema: pa.Schema, selection: Selection) -> dict[str, int]:
    """Return `Chunk.booleans`: the columns of numbers that are booleans in a file."""
    numbers = [name for name in selection.columns if not selection.is_text(name)]
    return {name: 0 for name in numbers if pa.types.is_boolean(schema.field(name).type)}


def _without_marks(values: pa.Array, dialect: Dialect) -> pa.Array:
    """Replace the values in `data.na_values` with null; default markers of text files, such as `NA`, stay text."""
    kind = values.type
    if not dialect.na_values:
        return values
    if _is_string(kind):
        values = values.cast(pa.string())
        text = values.to_pandas()
        numbers = pd.to_numeric(text, errors="coerce").isin(np.array(dialect.empty_numbers))
        is_mark = (text.str.strip().isin(dialect.na_values) | numbers).to_numpy(bool)
    elif _is_number(kind):
        # A marker is rounded like the column: as a float32, -9999.999 is a different number.
        precision = kind.to_pandas_dtype() if pa.types.is_floating(kind) else np.float64
        with np.errstate(over="ignore"):
            marks = np.array(dialect.empty_numbers).astype(precision)
        is_mark = np.isin(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), marks)
    elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        is_mark = np.isin(_to_milliseconds(values), _milliseconds_of(dialect.na_values))
    else:
        return values
    return pc.if_else(pa.array(is_mark), pa.scalar(None, values.type), values)


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _milliseconds_of(marks: Sequence[str]) -> np.ndarray:
    """Return the markers that are ISO 8601 dates."""
    text = pd.Series([mark for mark in marks if re.match(r"\d{4}-\d\d-\d\d", mark)], dtype="str")
    times = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True).dropna()
    return times.dt.as_unit("ms").astype("int64").to_numpy(np.float64)


def _to_milliseconds(values: pa.Array) -> np.ndarray:
    """Return dates as milliseconds since 1970-01-01, float64, NaN for an empty field."""
    milliseconds = values.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).cast(pa.float64())
    return milliseconds.to_numpy(zero_copy_only=False)


def _to_seconds(values: pa.Array) -> np.ndarray:
    """Return times of day and durations in seconds."""
    kind = values.type
    units_a_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    counts = values.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
    return counts.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) / units_a_second


def _remedy(name: str, kind: pa.DataType, selection: Selection) -> str:
    if pa.types.is_temporal(kind):
        return f" Set {override('data.dates', [name])}."
    if _is_string(kind):
        label = f"loss={CLASSES_LOSS.value} for labels"
        text = label if name in selection.targets else f"{override('data.categorical', [name])} for categories"
        return f" Set {text} or {override('data.dates', [name])} for dates."
    return f" Leave {name} out."


def _to_words(values: pa.Array) -> pa.Array:
    """Return categories as text, with numbers in their shortest form, as in a CSV."""
    if pa.types.is_decimal(values.type):
        # As text, because float64 cannot hold all digits.
        text = values.cast(pa.string())
        return pc.replace_substring_regex(pc.replace_substring_regex(text, r"(\.[0-9]*?)0+$", r"\1"), r"\.$", "")
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        # NaN is an empty field; adding 0 turns -0 into 0.
        values = pa.array(numbers + numbers.dtype.type(0), values.type, from_pandas=True)
    return values.cast(pa.string())
