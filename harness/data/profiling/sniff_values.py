"""Guesses the notation of numbers and missing values from the values of columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from harness.config.dialect import DEFAULT_EMPTY, Dialect
from harness.data.text_hints import DATE_LIKE, MARK
from harness.data.text_values import as_numbers

_SIGNED = re.compile(
    r"\s*([+-]?)\s*([$€£¥₹₩]?)\s*([+-]?[\d.,'\u2019 \u00a0\u202f]*\d[\d.]*(?:[eE][+-]?\d+)?)\s*([$€£¥₹₩%]?)\s*"
)
_SENTINELS = (-9, -99, -200, -999, -9999, -99999, 99, 999, 9999, 99999)
MOST_ROWS = 5000

_WITH_UNIT = re.compile(
    r"(EUR|USD|GBP|CHF|JPY|CNY|INR|Rs|kr)?\s*[+-]?(?:[1-9]\d*|0)(?:\.\d+)?"
    r"(?:\s+([A-Za-zµ°²³/]{1,8})|([A-Za-zµ°²³/]{2,8}|[kmglhs°]))?"
)
_NO_DATES = ("0000-00-00", "00/00/0000", "00.00.0000", "0000-00-00 00:00:00")
"""Impossible dates that some databases write for a missing date."""


class Marks(NamedTuple):
    """The likely notation of numbers and missing values."""

    decimal: str
    thousands: str
    strip: str
    missing: list[str]


def is_value(word: str) -> bool:
    """Return True if a field looks like a number, with or without currency signs."""
    return bool(_SIGNED.fullmatch(word))


def marks_of(columns: Sequence[Sequence[str]], delimiter: str) -> Marks:
    """Return the notation of the columns in which most values look like numbers."""
    signs: dict[str, None] = {}
    missing: dict[str, None] = {}
    numbers: list[str] = []
    for column in columns:
        words = Counter(word.strip() for word in column[:MOST_ROWS])
        empty = sum(times for word, times in words.items() if word in DEFAULT_EMPTY)
        found = {word: match for word in words if (match := _SIGNED.fullmatch(word))}
        others = [word for word in words if word not in found and word not in DEFAULT_EMPTY]
        marked = [word for word in others if MARK.fullmatch(word) or word in _NO_DATES]
        filled = words.total() - empty - sum(words[word] for word in marked)
        if _are_dates(others) and marked:
            missing |= dict.fromkeys(marked)
            continue
        if unit := _unit_of([word for word in words if word not in DEFAULT_EMPTY]):
            signs |= dict.fromkeys(unit)
            continue
        if not found or 2 * sum(words[word] for word in found) <= filled:
            continue
        if all(word in marked for word in others):
            missing |= dict.fromkeys(marked)
        for match in found.values():
            signs |= dict.fromkeys(filter(None, (match[2], match[4])))
            numbers.append(match[3].strip())
    decimal, thousands = _decimal_and_thousands(numbers, delimiter, is_euro="€" in signs)
    return Marks(decimal, thousands, "".join(signs), list(missing))


def _are_dates(words: Sequence[str]) -> bool:
    """Return True if most words look like dates, and the others are markers."""
    dates = [word for word in words if re.match(DATE_LIKE, word) and word not in _NO_DATES]
    others = {*words} - {*dates}
    return len(dates) > len(others) and all(MARK.fullmatch(word) or word in _NO_DATES for word in others)


def _unit_of(words: Sequence[str]) -> str:
    """Return the unit or currency next to the number in every word, given at least five words; else an empty string."""
    found = [_WITH_UNIT.fullmatch(word) for word in words]
    units = {(match[1] or "", match[2] or match[3] or "") for match in found if match}
    if len(words) < 5 or not all(found) or len(units) != 1:
        return ""
    return "".join(dict.fromkeys("".join(*units)))


def _decimal_and_thousands(numbers: Sequence[str], delimiter: str, *, is_euro: bool) -> tuple[str, str]:
    def count(pattern: str) -> int:
        whole = re.compile(rf"[+-]?{pattern}")
        return sum(bool(whole.fullmatch(number)) for number in marked)

    marked = {number for number in numbers if not number.isdigit()}

    point, comma = count(r"\d*\.(\d{1,2}|\d{4,})"), count(r"\d*,(\d{1,2}|\d{4,})")
    # Numbers like 1,234.5 or 1.234,5, and numbers like 1,234.
    commas_point, points_comma = count(r"\d{1,3}(,\d{2,3})+\.\d*"), count(r"\d{1,3}(\.\d{3})+,\d*")
    commas, points = count(r"\d{1,3}(,\d{2,3})*,\d{3}"), count(r"\d{1,3}(\.\d{3})+")
    many_points = count(r"\d{1,3}(\.\d{3}){2,}")
    spaces = count(r"\d{1,3}([ \u00a0\u202f]\d{3})+([.,]\d*)?")
    apostrophe = "\u2019" if any("\u2019" in number for number in marked) else "'"
    apostrophes = count(rf"\d{{1,3}}({apostrophe}\d{{3}})+([.,]\d*)?")
    is_comma = points_comma > commas_point or (comma > point and not commas_point)
    if not (is_comma or point or commas_point or points) and commas and delimiter != ",":
        is_comma = count(r"\d{1,3}(,\d{2,3}){2,}") == 0
    # In countries that use the euro, 1.234 usually means more than a thousand.
    is_comma = is_comma or (is_euro and points > 0 and not point and delimiter != ",")
    if is_comma:
        other = "." if points_comma or many_points or points else ""
        return ",", " " if spaces else apostrophe if apostrophes else other
    if many_points and not point:
        return ",", "."
    return ".", " " if spaces else apostrophe if apostrophes else "," if commas or commas_point else ""


def words_that_are_marks(columns: Sequence[Sequence[str]]) -> list[int]:
    """Return text columns with many `NA` or `None` but no empty fields, unless missing numbers are marked this way."""
    found = []
    for index, column in enumerate(columns):
        words = Counter(word.strip() for word in column[:MOST_ROWS])
        marks = words["NA"] + words["None"]
        numbers = sum(times for word, times in words.items() if is_value(word))
        if marks and 2 * numbers >= words.total() - marks:
            return []
        if 20 * marks >= words.total() > marks and not words[""]:
            found.append(index)
    return found


def sentinels_of(columns: Sequence[Sequence[str]], dialect: Dialect) -> list[int]:
    """Return numbers such as -999 that occur repeatedly in a column, far from all other values."""
    parsed = []
    for column in columns:
        text = pd.Series([word.strip() for word in column[:MOST_ROWS]], dtype="str")
        numbers = as_numbers(text.where(~text.isin(dialect.empty)).fillna(""), dialect)
        if 2 * np.isfinite(numbers).sum() > max(1, (text != "").sum()):
            parsed.append(numbers[np.isfinite(numbers)])
    return [mark for mark in _SENTINELS if _stands_out(mark, parsed)]


def _stands_out(mark: int, columns: Sequence[np.ndarray]) -> bool:
    is_apart = False
    for values in columns:
        times = int((values == mark).sum())
        others = values[values != mark]
        # If there are only two values, such as 0 and 99, neither stands out.
        if not times or len(np.unique(others)) < 3:
            continue
        low, high = float(others.min()), float(others.max())
        if low < mark < high:
            return False
        gap = low - mark if mark < low else mark - high
        is_apart = is_apart or (times >= 2 and gap > 2 * (high - low) and gap > abs(mark) / 2)
    return is_apart
