"""Turns fields of text into the values of a column: numbers, dates or text."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from harness.config.any_data import is_boolean
from harness.config.dialect import Dialect
from harness.data.selection import MILLISECONDS_A_DAY, Locate, Selection, Words
from harness.data.text_hints import hint_for
from harness.errors import ConfigError

BOOLEANS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "t": 1.0, "f": 0.0, "y": 1.0, "n": 0.0}
"""Words for 1 and 0 in columns of numbers; case is ignored."""

_SPACES = " \t\u00a0\u202f"


def to_column(
    name: str, text: pd.Series, selection: Selection, locate: Locate, booleans: dict[str, int]
) -> np.ndarray | Words:
    """Convert fields to a column of a chunk; empty fields may be missing values.

    Args:
        name: The column's name.
        text: The column's fields.
        selection: The format of the fields.
        locate: Returns the file and line of a row.
        booleans: If words stand for 1 and 0, the first such row is added here, under the column's name.

    Raises:
        ConfigError: A field is not a number or a date.
    """
    dialect = selection.dialect
    if not selection.is_text(name):
        return to_numbers(name, text, selection, locate, booleans)
    text = text.mask(text.isin(dialect.empty) | text.str.strip().isin(dialect.na_values))
    if numbers := dialect.empty_numbers:
        text = text.mask(pd.to_numeric(text, errors="coerce").isin(np.array(numbers)))
    if name in selection.dates:
        return to_days(name, text, selection.dates[name], locate)
    codes, words = pd.factorize(text)
    return one_spelling(codes, list(words))


def one_spelling(codes: np.ndarray, words: list[str]) -> Words:
    """Return words with `True`, `TRUE` and `true` as one category, `true`, as in Parquet files."""
    spelled = [word.lower() if is_boolean(word) else word for word in words]
    if spelled == words:
        return Words(codes, words)
    index, unique = pd.factorize(np.array(spelled, object))
    return Words(np.append(index, -1)[codes], list(unique))


def to_numbers(
    name: str, text: pd.Series, selection: Selection, locate: Locate, booleans: dict[str, int]
) -> np.ndarray:
    """Return fields as numbers, float64 `[rows]`, NaN for an empty field; `true` is 1 and `false` is 0."""
    text, dialect = text.fillna(""), selection.dialect
    values = text.str.strip()
    is_empty = text.isin(dialect.empty) | values.isin(dialect.na_values) | (values == "")
    values = values.where(~is_empty, "")
    numbers = as_numbers(values, dialect)
    bad = np.isnan(numbers) & ~is_empty.to_numpy()
    if bad.any():
        words = values[bad].str.lower().map(BOOLEANS)
        numbers[bad] = words.to_numpy(np.float64)
        unknown = np.isnan(numbers) & bad
        if unknown.any():
            row = int(unknown.argmax())
            value = str(text.iloc[row])
            hint = hint_for(name, value, is_target=name in selection.targets)
            raise ConfigError(f"{locate(row)}: {name} is {value!r}, not a number.{hint}")
        booleans[name] = int(bad.argmax())
    if marks := dialect.empty_numbers:
        numbers[np.isin(numbers, marks)] = np.nan
    return numbers


def as_numbers(values: pd.Series, dialect: Dialect) -> np.ndarray:
    """Convert stripped fields to numbers, float64 `[rows]`; NaN for fields that are not numbers."""
    plain = _plain(values, dialect) if dialect.rewrites_numbers or dialect.decimal != "." else values
    plain = plain.str.replace("\u2212", "-")  # The typographic minus sign.
    return np.array(pd.to_numeric(plain.where(plain != ""), errors="coerce"), np.float64)


def _plain(values: pd.Series, dialect: Dialect) -> pd.Series:
    """Rewrite numbers in Python's notation; fields that do not follow the dialect stay unreadable."""
    if dialect.strip:
        ends = "[" + re.escape(dialect.strip) + r"\s]"
        values = values.str.replace(rf"^([+-]?){ends}+([+-]?)", r"\1\2", regex=True)
        values = values.str.replace(rf"{ends}+$", "", regex=True)
    if dialect.thousands:
        mark = f"[{_SPACES}]" if dialect.thousands in _SPACES else re.escape(dialect.thousands)
        point = re.escape(dialect.decimal)
        # Groups of two digits are common in India.
        grouped = values.str.fullmatch(rf"[+-]?[0-9]{{1,3}}(?:{mark}[0-9]{{2,3}})*{mark}[0-9]{{3}}(?:{point}[0-9]*)?")
        # Separators in other positions stay, so the field is not a number.
        joined = values.str.replace(mark, "", regex=True)
        values = joined.where(grouped, values)
    if dialect.decimal != ".":
        # A point is then not a decimal mark.
        values = values.str.replace(".", "?", regex=False).str.replace(dialect.decimal, ".", regex=False)
    return values


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
            f"{locate(row)}: {name} is {text.iloc[row]!r}, not a date "
            f"{f'like {form}' if form else 'in ISO 8601 format'}. Set data.date_format, for example to %d/%m/%Y."
        )
    milliseconds = times.to_numpy("datetime64[ms]")
    return np.where(np.isnat(milliseconds), np.nan, milliseconds.astype(np.int64) / MILLISECONDS_A_DAY)
