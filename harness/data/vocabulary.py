"""The categories of a column, collected while its rows are read."""

from __future__ import annotations

import math

import numpy as np

from harness.errors import require

MOST = 10_000
"""Maximum number of categories in a column, because each becomes a model input."""


class Vocabulary:
    """The words of one column, numbered in order of appearance until all are known and sorted."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._codes: dict[str, int] = {}
        self._trained = np.zeros(0, bool)

    def encode(self, codes: np.ndarray, words: list[str]) -> np.ndarray:
        """Convert `codes`, indices into `words`, to preliminary codes, float64 `[rows]`; -1 (empty) becomes NaN."""
        known = [self._codes.setdefault(word, len(self._codes)) for word in words]
        require(
            len(self._codes) <= MOST,
            f"{self._column} has more than {MOST:,} categories. Remove it from data.features, or treat it as a number.",
        )
        # -1, an empty field, selects the last of these.
        return np.array([*known, np.nan])[codes]

    def mark_trained(self, codes: np.ndarray) -> None:
        """Mark preliminary codes, which may include NaN, as present in training rows."""
        present = codes[~np.isnan(codes)].astype(np.int64)
        counts = np.bincount(present, minlength=len(self._codes)) > 0
        counts[: len(self._trained)] |= self._trained
        self._trained = counts

    def categories(self) -> tuple[float, ...] | tuple[str, ...]:
        """Return the categories in training rows, ascending, as numbers if all are numbers."""
        words = [word for word, code in self._codes.items() if code < len(self._trained) and self._trained[code]]
        numbers = [_number(word) for word in words]
        # Ids may have more digits than float32 can distinguish.
        if any(map(math.isnan, numbers)) or len({*map(float, words)}) > len({*numbers}):
            return tuple(sorted(words))
        return tuple(sorted({*numbers}))

    def final_codes(self) -> np.ndarray:
        """Return, for each preliminary code, its index in `categories`, counted from 1, float32; 0 if missing."""
        categories = self.categories()
        index = {category: code for code, category in enumerate(categories, start=1)}
        numeric = bool(categories) and isinstance(categories[0], float)
        return np.array([index.get(_number(word) if numeric else word, 0) for word in self._codes], np.float32)


def _number(word: str) -> float:
    """Return a word as a float32 number, or NaN if it is not a number."""
    try:
        value = float(np.float32(word))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) and "_" not in word else math.nan
