"""Profiles a file: one pass over its text finds the kinds of its columns, another compares its numeric columns.

Both passes read the file as training would, and reject what training would reject.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from harness.data.formats import open_source
from harness.data.precision import keeps_whole_numbers
from harness.data.selection import BLOCK_BYTES, Selection, Words
from harness.data.source import FLOAT32_MAX
from harness.data.statistics import Drift, Moments

MANY = 1000

CODE_NAME = re.compile(r"(^|[_ ])(?i:id|code|index|zip|zipcode|postcode|fips|phone)$|[a-z]I[dD]$|^Unnamed: ")
DATE = r" *([0-9]{4}[-/][0-9]+[-/][0-9]|[0-9]{8}T[0-9]|[0-9]+[-/.][0-9]+[-/.][0-9]{4})"


@dataclass
class ColumnProfile:
    """One column of the file, filled in chunk by chunk; `numbers` and all fields after it are for numeric columns only.

    Attributes:
        count: Rows with a value; `empty` counts the others.
        example: The first value as written.
        bad: Values that are not float32 numbers; `first_bad` is the first.
        is_words: Whether most values so far were bad; from then on the column is treated as text.
        whole: Whether all numbers are written without a decimal point or exponent.
        zero_led: Whether a whole number is written with a leading zero.
        skewness: Third standardized moment.
        correlation: Pearson correlation with the target.
    """

    name: str
    count: int = 0
    empty: int = 0
    example: str = ""
    bad: int = 0
    first_bad: str = ""
    is_words: bool = False
    numbers: Moments = field(default_factory=Moments)
    whole: bool = True
    zero_led: bool = False
    skewness: float = 0.0
    correlation: float = 0.0
    _dated: bool = True
    _seen: set[str] = field(default_factory=set)

    @property
    def kind(self) -> str:
        """One of `integer`, `number`, `date`, `text` and `empty`."""
        if self.bad:
            return "date" if self._dated else "text"
        return "empty" if not self.count else "integer" if self.whole else "number"

    @property
    def is_numeric(self) -> bool:
        """Whether every value is a number."""
        return self.kind in ("integer", "number")

    @property
    def distinct(self) -> int | None:
        """Number of distinct values; None means more than `MANY`."""
        return len(self._seen) if len(self._seen) <= MANY else None

    @property
    def is_large(self) -> bool:
        """Whether training would round some of the whole numbers to others."""
        return self.kind == "integer" and not keeps_whole_numbers(self.numbers.min, self.numbers.max)

    @property
    def is_code(self) -> bool:
        """Whether the numbers look like codes: by name, leading zeros, or being few, large and of equal length."""
        low, high = self.numbers.min, self.numbers.max
        alike = low >= 10_000 and len(f"{low:.0f}") == len(f"{high:.0f}")
        few = 10 * len(self._seen) <= self.count and not all(value.endswith("0") for value in self._seen)
        named = CODE_NAME.search(self.name) is not None
        return self.kind == "integer" and (named or self.zero_led or (alike and few and self.distinct is not None))

    def add(self, words: Words) -> None:
        """Add a chunk's values of the column."""
        codes = words.codes[words.codes >= 0]
        self.empty += len(words.codes) - len(codes)
        if not len(codes):
            return
        text = pd.Series(words.values, dtype="str")
        self.example = self.example or words.values[0]
        if self.distinct is not None:
            self._seen.update(words.values[: MANY + 1])
        self._dated = self._dated and bool(text.str.match(DATE).all())
        self.count += len(codes)
        if not self.is_words:
            self._add_numbers(text, codes)
            self.is_words = 2 * self.bad > self.count

    def _add_numbers(self, text: pd.Series, codes: np.ndarray) -> None:
        try:
            numbers = np.asarray(text.astype("Float64"), np.float64)  # Arrow's parser: fast, but strict.
        except (ValueError, TypeError):
            numbers = np.asarray(pd.to_numeric(text, errors="coerce"), np.float64)
        bad = ~(np.abs(numbers) <= FLOAT32_MAX)
        if bad.any():
            self.first_bad = self.first_bad or text.iloc[int(bad.argmax())]
            self.bad += int(bad[codes].sum())
            return
        self.numbers.add(numbers[codes])
        self.whole = self.whole and bool(text.str.fullmatch(" *[+-]?[0-9]+ *").all())
        self.zero_led = self.zero_led or (self.whole and bool(text.str.match(" *[+-]?0[0-9]").any()))


def profile(address: str, block_bytes: int = BLOCK_BYTES) -> tuple[list[ColumnProfile], int]:
    """Read all columns of a file as text, and return them with the number of rows."""
    names = tuple(open_source(address, Selection(())).names())
    selection = Selection(names, categorical=frozenset(names), block_bytes=block_bytes)
    columns, rows = [ColumnProfile(name) for name in names], 0
    for chunk in open_source(address, selection).chunks():
        rows += chunk.rows
        for column, words in zip(columns, chunk.columns, strict=True):
            if isinstance(words, Words):
                column.add(words)
    return columns, rows


def compare(address: str, columns: Sequence[ColumnProfile], target: ColumnProfile) -> Drift:
    """Set the skewness of numeric `columns` and their correlation with one of them, `target`; return its drift.

    For the correlation, empty fields are replaced by the column's mean.
    """
    index = columns.index(target)
    means = np.array([[column.numbers.mean] for column in columns])
    cubes, products = np.zeros((2, len(columns)))
    drift, row = Drift(), 0
    for chunk in open_source(address, Selection(tuple(column.name for column in columns))).chunks():
        values = np.stack([np.asarray(column) for column in chunk.columns])
        centred = np.nan_to_num(values - means)
        cubes += (centred * centred * centred).sum(axis=1)
        products += centred @ centred[index]
        drift.add(row, values[index])
        row += chunk.rows
    for column, cube, product in zip(columns, cubes.tolist(), products.tolist(), strict=True):
        std = column.numbers.std
        column.skewness = cube / column.count / std**3
        column.correlation = product / (std * target.numbers.std * (column.count * target.count) ** 0.5)
    return drift
