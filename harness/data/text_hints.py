"""Guesses a column's format from a value that does not fit, and names the key to set."""

from __future__ import annotations

import re

from harness.config.objective import CLASSES_LOSS
from harness.config.overrides import override

ISO_DATE = r" *([0-9]{4}[-/][0-9]+[-/][0-9]|[0-9]{8}T[0-9])"
"""Matches the start of an ISO 8601 date."""

DATE_LIKE = r" *([0-9]{1,4}[-/. ][0-9A-Za-z]{1,9}[-/. ][0-9]{1,4}|[A-Z][a-z]{2,8},? [0-9]|[0-9]{8}T[0-9])"
"""Matches the start of a date in any format."""

_DAYS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%d-%m-%y",
)
_NAMED = (
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d %Y",
    "%b %d, %Y",
    "%B %d %Y",
    "%B %d, %Y",
    "%a %d %b %Y",
)
DATE_FORMATS = (
    tuple(day + time for day in _DAYS for time in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")) + _NAMED
)
"""Other date formats, in the order in which they are tried.

If day and month could be swapped, dates with slashes have the month first, as in the US; others, the day.
"""

_ISO = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{8}T\d{6}.*|\d{4}/\d{1,2}/\d{1,2}")
_OTHER_DATE = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( .*)?")
_SIGNS = re.compile(r"[+-]?\s*([$€£¥₹₩%])?\s*[+-]?\d[\d.,' ]*\s*([$€£¥₹₩%])?")
_GROUPED = re.compile(r"[+-]?\d{1,3}(([,' ])\d{2,3})*([,' ])\d{3}(\.\d*)?")
_NEGATIVE = re.compile(r"\(\W*\d[\d.,' ]*\W*\)|\d[\d.,' ]*-")
_COMMA = re.compile(r"[+-]?\d+,\d+")
MARK = re.compile(
    r"[^\w\s]{1,3}|\\N|(?i:unknown|missing|n\.a\.|nil|none|null|na|n/a|not available|#?value!?|#div/0!|tbd|-?nan.*)"
)


def hint_for(name: str, value: str, *, is_target: bool) -> str:
    """Return a hint about a `value` of the column `name` that is not a number.

    It is a sentence with a leading space, or an empty string.
    """
    if hint := format_hint(name, value):
        return hint
    if not re.fullmatch(r"[^\W\d_].*", value.strip()):
        return ""
    if is_target:
        return f" If {name} is a label, set loss={CLASSES_LOSS.value}."
    return f" If {name} is text, set {override('data.categorical', [name])}."


def format_hint(name: str, value: str) -> str:
    """Like `hint_for`, but empty for a value that can only be text."""
    word = value.strip()
    if word == name:
        return (
            " The line repeats the header: remove it or, if files were concatenated, list the original files in "
            "data.path."
        )
    if _ISO.fullmatch(word):
        return f" If it is a date, set {override('data.dates', [name])}."
    if _OTHER_DATE.fullmatch(word):
        form = override("data.date_format", date_format(word))
        return f" If it is a date, set {override('data.dates', [name])} {form}."
    if _NEGATIVE.fullmatch(word):
        return " If it is negative, write it with a minus sign in front."
    if (found := _SIGNS.fullmatch(word)) and any(found.groups()):
        signs = "".join(dict.fromkeys(filter(None, found.groups())))
        keys = [override("data.strip", signs)]
        number = re.sub(r"[^\d.,' ]", "", word).strip()
        if grouped := _GROUPED.fullmatch(number):
            keys.append(override("data.thousands", grouped[3]))
        return f" Set {' '.join(keys)}."
    if grouped := _GROUPED.fullmatch(word):
        return f" If {grouped[3]!r} separates thousands, set {override('data.thousands', grouped[3])}."
    if _COMMA.fullmatch(word):
        return f" If it has a decimal comma, set {override('data.decimal', ',')}."
    if MARK.fullmatch(word) and word.isprintable():
        return f" If it marks a missing value, set {override('data.na_values', [word])}."
    return ""


def date_format(word: str) -> str:
    """Return the `strptime` format of a date such as 31/12/2014.

    If day and month could be swapped, dates with slashes have the month first, as in the US; others, the day.
    """
    found = re.match(r"(\d{1,2})([-/.])(\d{1,2})[-/.](\d{4}|\d{2})( (\d{1,2}:\d{2})(:\d{2})?( ?[AaPp][Mm])?)?", word)
    assert found
    is_month_first = int(found[1]) <= 12 and (int(found[3]) > 12 or found[2] == "/")
    parts = ("%m", "%d") if is_month_first else ("%d", "%m")
    form = found[2].join([*parts, "%Y" if len(found[4]) == 4 else "%y"])
    if found[5]:
        form += (" %I:%M" if found[8] else " %H:%M") + (":%S" if found[7] else "")
        form += (" %p" if found[8].startswith(" ") else "%p") if found[8] else ""
    return form
