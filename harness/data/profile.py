"""What is in a file: one pass over its text finds the kinds of its columns, one over its numbers their moments.

Both read it as training would, and refuse what training would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from harness.data.formats import open_source
from harness.data.source import BLOCK_BYTES, Selection, Words

MANY = 1000
EXACT = 2**24
"""float32 represents every whole number up to this one."""
PARTS = 10
CODE_NAME = re.compile(r"(^|[_ ])(?i:id|code|index|zip|zipcode|postcode|fips|phone)$|[a-z]I[dD]$|^Unnamed: ")
DATE = r" *([0-9]{4}[-/][0-9]+[-/][0-9]|[0-9]{8}T[0-9]|[0-9]+[-/.][0-9]+[-/.][0-9]{4})"


@dataclass
class Column:
    """One column of the file, filled in chunk by chunk; `min` and those below it are for numbers only.

    Attributes:
        name: In the header.
        count: Rows with a value; `empty` counts the others.
        example: The first value as written.
        bad: Values that are not float32 numbers; `first_bad` is the first.
        wordy: Whether most values of some chunk were bad; numbers are not looked for since.
        whole: Whether all are written without point and exponent.
        zero_led: Whether one is written with a leading zero.
        std: Population standard deviation.
        skewness: Third standardized moment.
        correlation: Pearson's, with the target.
    """

    name: str
    count: int = 0
    empty: int = 0
    example: str = ""
    bad: int = 0
    first_bad: str = ""
    wordy: bool = False
    whole: bool = True
    zero_led: bool = False
    min: float = np.inf
    max: float = -np.inf
    std: float = 0.0
    skewness: float = 0.0
    correlation: float = 0.0
    _total: float = 0.0
    _dated: bool = True
    _seen: set[str] = field(default_factory=set)

    @property
    def kind(self) -> str:
        """One of `integer`, `number`, `date`, `text` and `empty`."""
        if self.bad:
            return "date" if self._dated else "text"
        return "empty" if not self.count else "integer" if self.whole else "number"

    @property
    def numeric(self) -> bool:
        """Whether every value is a number."""
        return self.count > 0 and not self.bad

    @property
    def mean(self) -> float:
        """Mean."""
        return self._total / self.count

    @property
    def distinct(self) -> int | None:
        """Number of distinct values; None means more than `MANY`."""
        return len(self._seen) if len(self._seen) <= MANY else None

    @property
    def is_large(self) -> bool:
        """Whether float32 cannot represent some of the whole numbers."""
        return self.kind == "integer" and max(-self.min, self.max) > EXACT

    @property
    def is_code(self) -> bool:
        """Whether the numbers look like codes: by name, by leading zeros, or as few large ones of equal length."""
        alike = self.min >= 10_000 and len(f"{self.min:.0f}") == len(f"{self.max:.0f}")
        few = 10 * len(self._seen) <= self.count and not all(value.endswith("0") for value in self._seen)
        named = CODE_NAME.search(self.name) is not None
        return self.kind == "integer" and (named or self.zero_led or (alike and few and self.distinct is not None))

    def add(self, words: Words) -> None:
        """Add the column of a chunk."""
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
        if not self.wordy:
            self._add_numbers(text, codes)
            self.wordy = 2 * self.bad > self.count

    def _add_numbers(self, text: pd.Series, codes: np.ndarray) -> None:
        try:
            numbers = np.asarray(text.astype("Float64"), np.float64)  # Arrow's parser: fast, but strict.
        except (ValueError, TypeError):
            numbers = np.asarray(pd.to_numeric(text, errors="coerce"), np.float64)
        bad = ~(np.abs(numbers) <= np.finfo(np.float32).max)
        if bad.any():
            self.first_bad = self.first_bad or text.iloc[int(bad.argmax())]
            self.bad += int(bad[codes].sum())
            return
        self._total += float(numbers[codes].sum())
        self.min, self.max = min(self.min, float(numbers.min())), max(self.max, float(numbers.max()))
        self.whole = self.whole and bool(text.str.fullmatch(" *[+-]?[0-9]+ *").all())
        self.zero_led = self.zero_led or (self.whole and bool(text.str.match(" *[+-]?0[0-9]").any()))


@dataclass(frozen=True)
class Profile:
    """A file after the pass over its text."""

    address: str
    bytes: int
    columns: list[Column]
    rows: int


def read_profile(address: str, block_bytes: int = BLOCK_BYTES) -> Profile:
    """Read all columns of a file as text."""
    names = tuple(open_source(address, Selection(())).names())
    source = open_source(address, Selection(names, categorical=frozenset(names), block_bytes=block_bytes))
    columns, rows = [Column(name) for name in names], 0
    for chunk in source.chunks():
        rows += chunk.rows
        for column, words in zip(columns, chunk.columns, strict=True):
            if isinstance(words, Words):
                column.add(words)
    return Profile(address, source.file.size(), columns, rows)


def read_moments(profile: Profile, varied: Sequence[Column], target: Column) -> np.ndarray:
    """Set deviation, skewness and correlation with `target`, one of them, of the columns `varied`.

    In the correlation, an empty field counts as the column's mean.

    Returns:
        For each of `PARTS` parts of the file, the sum of the target minus its mean.
    """
    means = np.array([column.mean for column in varied])
    index = varied.index(target)
    squares, cubes, products = np.zeros((3, len(varied)))
    parts, row = np.zeros(PARTS), 0
    selection = Selection(tuple(column.name for column in varied))
    for chunk in open_source(profile.address, selection).chunks():
        values = np.stack([np.asarray(column) for column in chunk.columns], axis=1)
        centred = np.nan_to_num(values - means, copy=False)
        squared = centred * centred
        squares += squared.sum(axis=0)
        cubes += (squared * centred).sum(axis=0)
        products += centred[:, index] @ centred
        part_of_row = np.arange(row, row + len(values)) * PARTS // profile.rows
        parts += np.bincount(part_of_row, centred[:, index], PARTS)
        row += len(values)
    for column, square, cube, product in zip(varied, squares, cubes, products, strict=True):
        column.std = float(np.sqrt(square / column.count))
        column.skewness = float(cube / column.count / column.std**3)
        column.correlation = float(product / np.sqrt(square * squares[index]))
    return parts
