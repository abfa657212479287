"""Profiles a file: one pass over its text determines the kinds of its columns, and another compares numeric columns.

Both passes read the file as training would, and reject what training would reject.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from harness.config.dialect import Dialect
from harness.data.formats import open_source
from harness.data.ingest import read_all
from harness.data.precision import keeps_whole_numbers
from harness.data.selection import BLOCK_BYTES, Selection, Words
from harness.data.source import FLOAT32_MAX
from harness.data.statistics import Drift, Moments
from harness.data.text_hints import DATE_FORMATS, DATE_LIKE, ISO_DATE
from harness.data.text_values import BOOLEANS, as_numbers
from harness.errors import require

MANY = 1000
MOST_CELLS = 5_000_000
"""Maximum number of fields to read, unless the whole file is requested."""

CODE_NAME = re.compile(r"(^|[_ ])(?i:id|code|index|zip|zipcode|postcode|fips|phone)$|[a-z]I[dD]$|^Unnamed: ")


@dataclass
class ColumnProfile:
    """One column of the file, filled in chunk by chunk; `numbers` and all fields after it are for numeric columns only.

    Attributes:
        dialect: The file's format.
        count: Number of rows with a value; `empty` counts the others.
        example: The first value as written.
        bad: Number of values that are not float32 numbers; `first_bad` is the first of them.
        is_words: Whether most values so far were bad; if so, the column is treated as text from then on.
        whole: Whether all numbers are written without a decimal point or exponent.
        zero_led: Whether a whole number is written with a leading zero.
        skewness: Third standardized moment.
        correlation: Pearson correlation with the target.
    """

    name: str
    dialect: Dialect = field(default_factory=Dialect)
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
    _forms: list[str] = field(default_factory=lambda: [ISO_DATE, *DATE_FORMATS])
    _boolean: bool = True
    _seen: Counter[str] = field(default_factory=Counter)

    @property
    def kind(self) -> str:
        """One of `integer`, `number`, `boolean`, `date`, `text` and `empty`."""
        if self.bad:
            return "boolean" if self._boolean else "date" if self._forms else "text"
        return "empty" if not self.count else "integer" if self.whole else "number"

    @property
    def repeats_header(self) -> bool:
        """Whether the first value that is not a number, in a column of numbers, is the column's name."""
        return not self.is_words and self.first_bad.strip() == self.name

    @property
    def is_numeric(self) -> bool:
        """Whether every value is a number."""
        return self.kind in ("integer", "number")

    @property
    def date_format(self) -> str | None:
        """The `strptime` format of dates; None means ISO 8601, or no dates."""
        return None if not self._forms or self._forms[0] == ISO_DATE else self._forms[0]

    @property
    def words(self) -> list[str]:
        """The distinct values, sorted, if there are few."""
        return sorted(self._seen) if self.distinct is not None else []

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of each distinct value, sorted by value, if there are few."""
        return {word: self._seen[word] for word in self.words}

    @property
    def distinct(self) -> int | None:
        """Number of distinct values; None means more than `MANY`."""
        return len(self._seen) if len(self._seen) <= MANY else None

    @property
    def is_large(self) -> bool:
        """Whether training would round some of the whole numbers."""
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
        """Add the column's values in a chunk."""
        codes = words.codes[words.codes >= 0]
        self.empty += len(words.codes) - len(codes)
        if not len(codes):
            return
        text = pd.Series(words.values, dtype="str")
        self.example = self.example or words.values[0]
        if self.distinct is not None:
            times = np.bincount(codes, minlength=len(words.values)).tolist()
            self._seen.update(dict(zip(words.values[: MANY + 1], times, strict=False)))
        # In most columns, a few values are enough to rule out dates.
        if self._forms and not text.iloc[:5].str.match(DATE_LIKE).all():
            self._forms = []
        self._forms = [form for form in self._forms if matches_date(text, form)]
        self._boolean = self._boolean and bool(text.str.lower().str.strip().isin(BOOLEANS).all())
        self.count += len(codes)
        if not self.is_words:
            self._add_numbers(text, codes)
            self.is_words = 2 * self.bad > self.count

    def _add_numbers(self, text: pd.Series, codes: np.ndarray) -> None:
        try:
            if self.dialect.rewrites_numbers or self.dialect.decimal != ".":
                raise ValueError
            numbers = np.asarray(text.astype("Float64"), np.float64)  # Arrow's parser is fast, but strict.
        except (ValueError, TypeError):
            numbers = as_numbers(text.str.strip(), self.dialect)
        bad = ~(np.abs(numbers) <= FLOAT32_MAX)
        if bad.any():
            self.first_bad = self.first_bad or text.iloc[int(bad.argmax())]
            self.bad += int(bad[codes].sum())
            return
        self.numbers.add(numbers[codes])
        self.whole = self.whole and bool(text.str.fullmatch(" *[+-]?[0-9]+ *").all())
        self.zero_led = self.zero_led or (self.whole and bool(text.str.match(" *[+-]?0[0-9]").any()))


@dataclass(frozen=True)
class Profile:
    """What was found in the files of a table.

    Attributes:
        rows: Rows that were read.
        share: Fraction of the bytes that were read.
        duplicates: Names shared by several columns, which are left out of `columns`.
    """

    columns: list[ColumnProfile]
    rows: int
    share: float = 1.0
    duplicates: tuple[str, ...] = ()


def profile(
    addresses: Sequence[str],
    dialect: Dialect,
    block_bytes: int = BLOCK_BYTES,
    *,
    most_cells: float = math.inf,
    columns: Sequence[str] | None = None,
) -> Profile:
    """Read the columns of files as text, by default all of them, up to about `most_cells` fields."""
    every = open_source(addresses[0], Selection((), dialect=dialect)).names()
    duplicates = tuple(name for name, times in Counter(every).items() if times > 1)
    names = tuple(name for name in (every if columns is None else columns) if name not in duplicates)
    require(bool(names), f"{addresses[0]}: every column has the same name as another one. Rename the columns.")
    selection = Selection(names, categorical=frozenset(names), dialect=dialect, block_bytes=block_bytes)
    found, rows, share = [ColumnProfile(name, dialect) for name in names], 0, 1.0
    for chunk, read, total in read_all(addresses, selection):
        rows += chunk.rows
        for column, words in zip(found, chunk.columns, strict=True):
            if isinstance(words, Words):
                column.add(words)
        if rows * len(names) >= most_cells:
            share = min(read / total, 1.0) if total else 1.0
            break
    return Profile(found, rows, share, duplicates)


def matches_date(text: pd.Series, form: str) -> bool:
    """Return True if all values are dates in a format; `ISO_DATE` stands for ISO 8601."""
    is_iso = form == ISO_DATE
    if is_iso and not text.str.match(ISO_DATE).all():
        return False
    form = "ISO8601" if is_iso else form
    parts = (text.iloc[:5], text)
    return all(bool(pd.to_datetime(part, format=form, errors="coerce", utc=True).notna().all()) for part in parts)


def compare(addresses: Sequence[str], found: Profile, columns: Sequence[ColumnProfile], target: ColumnProfile) -> Drift:
    """Set the skewness of numeric `columns` and their correlation with `target`; return the target's drift.

    For the correlation, empty fields are replaced by the column's mean.
    """
    index = columns.index(target)
    means = np.array([[column.numbers.mean] for column in columns])
    stds = np.array([[column.numbers.std or 1.0] for column in columns])  # 0 if the values are too small to be squared.
    cubes, products = np.zeros((2, len(columns)))
    drift, row = Drift(), 0
    selection = Selection(tuple(column.name for column in columns), dialect=target.dialect)
    for chunk, _, _ in read_all(addresses, selection):
        values = np.stack([np.asarray(column) for column in chunk.columns])[:, : found.rows - row]
        scores = np.nan_to_num((values - means) / stds)
        cubes += (scores * scores * scores).sum(axis=1)
        products += scores @ scores[index]
        drift.add(row, values[index])
        row += values.shape[1]
        if row >= found.rows:
            break
    for column, cube, product in zip(columns, cubes.tolist(), products.tolist(), strict=True):
        column.skewness = cube / column.count
        column.correlation = product / (column.count * target.count) ** 0.5
    return drift
