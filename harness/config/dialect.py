"""The schema of the `data.*` keys that describe the format of a text file."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from harness.config.limits import require_distinct, require_whole
from harness.errors import ConfigError, require

WHITESPACE = "whitespace"
"""The delimiter that matches any number of spaces and tabs."""

_MARKS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " ", "point": "."}
_MARKS |= {"\\s+": WHITESPACE}
"""Names of characters that are hard to type in a shell."""

DEFAULT_EMPTY = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"}
    | {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""Texts that count as empty fields by default; the same list as in pandas."""

MOST_LINES = 100_000
"""Maximum number of lines to leave out at the start or end of a file."""


class Header(Enum):
    """Where the column names of a text file come from."""

    first = "first"
    none = "none"


@dataclass(kw_only=True)
class Dialect:
    """The format of a text file. `harness data describe FILE` suggests values.

    Attributes:
        delimiter: Field delimiter: a character, its name (`tab`, `comma`, `semicolon`, `pipe`, `space`), or
            `whitespace` for any number of spaces and tabs.
        encoding: Python name of the encoding.
        decimal: Decimal mark.
        thousands: Thousands separator, as in `1,234`, or its name.
        strip: Characters removed from both ends of numbers, for example `$%`. A percentage keeps its value: `5%` is 5.
        na_values: Additional values to treat as empty, in files of any format; a number such as -999 also matches
            `-999.0`.
        keep_default_na: Also treat pandas' default missing-value markers, such as `NA` and `null`, as empty; false
            reads them as text.
        header: `first` takes names from the first line that is not blank; `none` numbers the columns from 0.
        names: Names for all columns, replacing those of the header or the numbers.
        units_row: Skip the row of units below the header.
        skip_rows: Number of lines to skip at the start of each file.
        skip_footer: Number of lines to skip at the end of each file, including blank ones.
        comment: Comment character; it and the rest of the line are ignored, unless quoted.
        skip_initial_space: Ignore spaces after delimiters.
        trailing_delimiter: Ignore the delimiter at the end of each line.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str | None = None
    strip: str = ""
    na_values: list[Any] = field(default_factory=list)
    keep_default_na: bool = True
    header: Header = Header.first
    names: list[Any] = field(default_factory=list)
    units_row: bool = False
    skip_rows: int = 0
    skip_footer: int = 0
    comment: str | None = None
    skip_initial_space: bool = False
    trailing_delimiter: bool = False

    def __post_init__(self) -> None:
        for key in ("delimiter", "decimal", "thousands", "comment"):
            mark = getattr(self, key)
            setattr(self, key, _MARKS.get(mark, mark))
        self.header = Header(self.header)
        self.names = [str(name) for name in self.names]
        self.na_values = [_text(mark) for mark in self.na_values]
        self._check_marks()
        has_units = self.units_row and self.header is Header.none
        require(not has_units, "data.units_row needs a header, but data.header=none is set: use data.skip_rows.")
        for key in ("skip_rows", "skip_footer"):
            require_whole(f"data.{key}", getattr(self, key), 0, MOST_LINES)
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ConfigError(f"data.encoding: Python has no encoding {self.encoding}.") from None

    def _check_marks(self) -> None:
        for key in ("delimiter", "decimal", "comment", "thousands"):
            mark = getattr(self, key)
            if mark is None or (key == "delimiter" and mark == WHITESPACE):
                continue
            usable = len(mark) == 1 and not mark.isalnum() and mark not in '"\r\n\0+-'
            kind = "character" if key == "thousands" else "ASCII character"
            require(
                usable and (key == "thousands" or mark.isascii()),
                f"data.{key} must be one {kind} that is not a letter, digit, sign or quote: {mark!r}.",
            )
        marks = {"decimal": self.decimal, "delimiter": self.delimiter, "comment": self.comment}
        for key, other in (("decimal", "delimiter"), ("comment", "delimiter"), ("comment", "decimal")):
            require(marks[key] != marks[other], f"data.{key} and data.{other} are both {marks[key]!r}.")
        require(self.thousands != self.decimal, f"data.thousands and data.decimal are both {self.decimal!r}.")
        bad = sorted({*self.strip} & {*"0123456789+-()", self.decimal})
        require(not bad, f"data.strip must not contain digits, signs, brackets or the decimal mark: {bad!r}.")
        require_distinct("data.names contains", self.names)

    @property
    def separator(self) -> str:
        """The delimiter of the text after its spaces are rewritten."""
        return "\t" if self.delimiter == WHITESPACE else self.delimiter

    @property
    def rewrites_lines(self) -> bool:
        """Whether lines must be rewritten to make the text a plain CSV."""
        changes = self.skip_rows, self.skip_footer, self.comment, self.skip_initial_space, self.trailing_delimiter
        return any(changes) or self.delimiter == WHITESPACE

    @property
    def rewrites_numbers(self) -> bool:
        """Whether numbers have characters that number parsers do not accept."""
        return bool(self.thousands or self.strip)

    @property
    def empty(self) -> frozenset[str]:
        """Texts that count as empty fields."""
        return (DEFAULT_EMPTY if self.keep_default_na else frozenset({""})) | {*self.na_values}

    @property
    def empty_numbers(self) -> list[float]:
        """The `na_values` that are numbers; they match whatever the notation."""
        numbers = []
        for mark in self.na_values:
            try:
                numbers.append(float(mark.replace(self.decimal, ".")))
            except ValueError:
                continue
        return numbers


def _text(mark: Any) -> str:
    """Return a missing-value marker as it appears in a file, even if YAML has parsed it as a number or boolean."""
    if mark is None:
        return "null"
    is_whole = isinstance(mark, float) and mark.is_integer()
    return str(int(mark) if is_whole else mark)
