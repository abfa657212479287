"""The categories of a column, collected while its rows are read."""

from __future__ import annotations

import math
import re

import numpy as np

from harness.data.statistics import Column
from harness.errors import require

MOST = 10_000
"""Maximum number of categories in a column, because each becomes a model input."""

_PLAIN = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")


class Vocabulary:
    """The words of one column, numbered in order of appearance until all are known and sorted."""

    def __init__(self, column: str, too_many: str = "Remove it from data.features, or treat it as a number.") -> None:
        """Collect the words of `column`; `too_many` is a sentence saying what to do if there are more than `MOST`."""
        self._column, self._too_many = column, too_many
        self._codes: dict[str, int] = {}
        self._trained = np.zeros(0, bool)

    def encode(self, codes: np.ndarray, words: list[str]) -> np.ndarray:
        """Convert `codes`, indices into `words`, to preliminary codes, float64 `[rows]`; -1 (empty) becomes NaN."""
        known = [self._codes.setdefault(word, len(self._codes)) for word in words]
        require(
            len(self._codes) <= MOST,
            f"{self._column} has more than {MOST:,} categories. {self._too_many}",
        )
        # For an empty field, the index -1 selects the last of these.
        return np.array([*known, np.nan])[codes]

    def mark_trained(self, codes: np.ndarray) -> None:
        """Mark preliminary codes, which may include NaN, as present in training rows."""
        present = codes[~np.isnan(codes)].astype(np.int64)
        counts = np.bincount(present, minlength=len(self._codes)) > 0
        counts[: len(self._trained)] |= self._trained
        self._trained = counts

    def categories(self) -> tuple[float, ...] | tuple[str, ...]:
        """Return the categories in training rows, ascending, as numbers if all of them are plain numbers."""
        words = [word for word, code in self._codes.items() if code < len(self._trained) and self._trained[code]]
        numbers = [plain_number(word) for word in words]
        return tuple(sorted(words)) if any(map(math.isnan, numbers)) else tuple(sorted(numbers))

    def final_codes(self) -> np.ndarray:
        """Return each preliminary code's index in `categories`, from 1, float32; 0 if it is not among them."""
        categories = self.categories()
        index = {category: code for code, category in enumerate(categories, start=1)}
        numeric = bool(categories) and isinstance(categories[0], float)
        return np.array([index.get(plain_number(word) if numeric else word, 0) for word in self._codes], np.float32)


def plain_number(word: str) -> float:
    """Return a word as a number if float32 distinguishes it from all other words, else NaN.

    `007`, `7.0` and `7e0` are not plain, because different categories would become the same number. An id with more
    digits than float32 can distinguish is not plain either.
    """
    if not _PLAIN.fullmatch(word) or word == "-0":
        return math.nan
    with np.errstate(over="ignore"):
        value = np.float32(word)
    if not np.isfinite(value):
        return math.nan
    # Not float(word), which rounds large whole numbers.
    is_exact = np.format_float_positional(value, trim="-") == word if "." in word else int(value) == int(word)
    return float(value) if is_exact else math.nan


def explain_text(column: Column) -> str:
    """Explain why the categories of a column are text although all of them are numbers; empty if they are not."""
    if not column.is_text or not all(map(is_number, column.categories)):
        return ""
    first = next(word for word in column.categories if math.isnan(plain_number(str(word))))
    is_short = shortest_form(str(first)) == first
    reason = "has more digits than float32 can hold" if is_short else "is not a number in its shortest form"
    return f"the categories of {column.name} are text, because {first!r} {reason}"


def shortest_form(word: str) -> str:
    """Return a finite number in the form that a category has: without an exponent or unnecessary digits."""
    try:
        return str(int(word))
    except ValueError:
        return np.format_float_positional(float(word) + 0.0, trim="-")  # Adding 0 turns -0 into 0.


def is_number(word: object) -> bool:
    """Return True if a word is a finite number, however it is written."""
    try:
        return math.isfinite(float(str(word))) and "_" not in str(word)
    except ValueError:
        return False
