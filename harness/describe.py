"""A first look at a CSV: its columns, what could go wrong with them, and the command that would train on it.

Two passes in chunks: one over the text, which settles types, and one over the numbers as training would read them.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.config import ConfigError, require
from harness.readers import READ_ROWS, read_chunks, read_header

MANY = 1000
EXACT = 2**24  # float32 holds every whole number up to here
PARTS = 10
TARGETS = ("price", "target", "label", "y")
CODE_NAME = re.compile(r"(^|[_ ])(?i:id|code|index|zip|zipcode|postcode|fips|phone)$|[a-z]I[dD]$|^Unnamed: ")
DATE = r" *([0-9]{4}[-/][0-9]+[-/][0-9]|[0-9]{8}T[0-9]|[0-9]+[-/.][0-9]+[-/.][0-9]{4})"
NO_CSV = "data.path expected a CSV in UTF-8 with a header line"
RESAVE = "Unpack it, or save it as CSV in UTF-8."


@dataclass
class Column:
    """One column of the file, filled in chunk by chunk; `min` and what follows hold for numbers only.

    Attributes:
        name: As pandas reads it: the second `a` of a header is `a.1`.
        count: Rows with a value; `empty` are the others.
        example: The first value, as it is written.
        bad: Values that are no number that float32 can hold; `first_bad` is the first.
        wordy: Whether they were most of them after some chunk, and are not counted since, to save time.
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
        """Mean of the numbers."""
        return self._total / self.count

    @property
    def distinct(self) -> int | None:
        """Number of different values; None means more than `MANY`."""
        return len(self._seen) if len(self._seen) <= MANY else None

    @property
    def is_large(self) -> bool:
        """Whether float32 cannot tell some of the whole numbers apart."""
        return self.kind == "integer" and max(-self.min, self.max) > EXACT

    @property
    def is_code(self) -> bool:
        """Whether these seem to be names made of digits: so called, zero-led, or few, large and of one length."""
        alike = self.min >= 10_000 and len(f"{self.min:.0f}") == len(f"{self.max:.0f}")
        few = 10 * len(self._seen) <= self.count and not all(value.endswith("0") for value in self._seen)
        named = CODE_NAME.search(self.name) is not None
        return self.kind == "integer" and (named or self.zero_led or (alike and few and self.distinct is not None))

    def add(self, text: pd.Series) -> None:
        """Take in the column's part of a chunk."""
        values = text.dropna()
        self.empty += len(text) - len(values)
        if values.empty:
            return
        self.example = self.example or values.iloc[0]
        if self.distinct is not None:
            self._seen.update(values.unique()[: MANY + 1])
        self._dated = self._dated and bool(values.str.match(DATE).all())
        self.count += len(values)
        if not self.wordy:
            self._add_numbers(values)
            self.wordy = 2 * self.bad > self.count

    def _add_numbers(self, text: pd.Series) -> None:
        try:
            numbers = np.asarray(text.astype("Float64"), np.float64)  # Arrow's parser: fast, but strict.
        except (ValueError, TypeError):
            numbers = np.asarray(pd.to_numeric(text, errors="coerce"), np.float64)
        bad = ~(np.abs(numbers) <= np.finfo(np.float32).max)
        if bad.any():
            self.first_bad = self.first_bad or text.iloc[int(bad.argmax())]
            self.bad += int(bad.sum())
            return
        self._total += float(numbers.sum())
        self.min, self.max = min(self.min, float(numbers.min())), max(self.max, float(numbers.max()))
        self.whole = self.whole and bool(text.str.fullmatch(" *[+-]?[0-9]+ *").all())
        self.zero_led = self.zero_led or (self.whole and bool(text.str.match(" *[+-]?0[0-9]").any()))


@dataclass(frozen=True)
class Description:
    """A CSV as `describe` found it; `command` is empty where there is nothing to train on."""

    path: Path
    rows: int
    bytes: int
    columns: list[Column]
    warnings: list[str]
    command: str


def describe(path: Path) -> Description:
    """Read the CSV at `path` twice, in the memory of a chunk, and say what it holds.

    Raises:
        ConfigError: There is no such file, it is no CSV in UTF-8, or a row has more fields than the header.
    """
    _check_text(path)
    frames = _read_text(path)
    header = next(frames).iloc[0].fillna("").tolist()
    columns = [Column(name) for name in header]
    for frame in frames:
        for column, (_, text) in zip(columns, frame.items(), strict=True):
            column.add(text)
    rows = columns[0].count + columns[0].empty
    for column, name in zip(columns, read_header(path), strict=True):
        column.name = name
    varied = [column for column in columns if column.numeric and column.min < column.max]
    target = _guess_target(varied)
    warnings = [*_file_warnings(path, header, columns, rows), *_column_warnings(columns if rows else [], target)]
    if target:
        warnings += _moment_warnings(varied, target, _read_moments(path, varied, target, rows), rows)
    command = _command(path, varied, target) if target and len(varied) > 1 else ""
    if not command:
        warnings.append("Training needs two columns of numbers that vary, so there is no command to suggest.")
    return Description(path, rows, path.stat().st_size, columns, warnings, command)


def _check_text(path: Path) -> None:
    require(path.exists(), "data.path expected a CSV file", f"{path}, which does not exist", "Check name and folder.")
    require(path.is_file(), "data.path expected a CSV file", f"{path}, which is no regular file", "Name one file.")
    with path.open("rb") as file:
        start = file.read(1 << 16)
    require(bool(start.strip()), NO_CSV, f"{path}, which is empty", "Write the columns' names and rows into it.")
    try:
        binary = "\0" in codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        binary = True
    require(not binary, NO_CSV, f"{path}, which is binary or in another encoding", RESAVE)


def _read_text(path: Path) -> Iterator[pd.DataFrame]:
    """Yield the file as text, first its header alone, read as a row: only so is too long a first row an error."""
    try:
        with pd.read_csv(path, header=None, dtype=str, iterator=True) as reader, contextlib.suppress(StopIteration):
            yield (header := reader.get_chunk(1))
            while True:
                yield reader.get_chunk(min(READ_ROWS, 1 + 2_000_000 // header.shape[1]))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{NO_CSV}. Received: {path}, where {error}. {RESAVE}") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        fault = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
        if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", fault):
            fault = f"{found[3]} fields in line {found[2]} where the header has {found[1]}"
        remedy = "Mend the line, or quote the field that holds a comma or a line break."
        raise ConfigError(f"data.path expected rows like the header. Received: {path}, {fault}. {remedy}") from None


def _guess_target(varied: list[Column]) -> Column | None:
    """Return the column with a target's name, else the last one of numbers that are no codes."""
    named = [column for name in TARGETS for column in varied if column.name.lower() == name]
    return next(iter([*named, *(column for column in reversed(varied) if not column.is_code), *varied]), None)


def _read_moments(path: Path, varied: list[Column], target: Column, rows: int) -> np.ndarray:
    """Set spread, skewness and correlation, an empty field counting as the column's mean in the last.

    Returns:
        For each tenth of the file the sum of the target less its mean.
    """
    means = np.array([column.mean for column in varied])
    index = varied.index(target)
    squares, cubes, products = np.zeros((3, len(varied)))
    parts, row = np.zeros(PARTS), 0
    for values in read_chunks(path, [column.name for column in varied]):
        centred = np.nan_to_num(values - means, copy=False)
        squared = centred * centred
        squares += squared.sum(axis=0)
        cubes += (squared * centred).sum(axis=0)
        products += centred[:, index] @ centred
        parts += np.bincount(np.arange(row, row + len(values)) * PARTS // rows, centred[:, index], PARTS)
        row += len(values)
    for column, square, cube, product in zip(varied, squares, cubes, products, strict=True):
        column.std = float(np.sqrt(square / column.count))
        column.skewness = float(cube / column.count / column.std**3)
        column.correlation = float(product / np.sqrt(square * squares[index]))
    return parts


def _file_warnings(path: Path, header: list[str], columns: list[Column], rows: int) -> Iterator[str]:
    if not rows:
        yield "The file has a header and no rows."
    if len(header) == 1 and (found := re.search(r"[;\t|]", header[0])):
        yield f"The header is one column, {header[0]!r}: put commas, not {found[0]!r}, between columns."
    if all(re.fullmatch(r"[\d.eE+-]+", name) for name in header):
        yield "The names in the header are numbers: put a line of names on top if the first line is data."
    for column, name in zip(columns, header, strict=True):
        if name and column.name != name:
            yield f"{name} stands twice in the header, its second column is read as {column.name}: rename one."
    if columns[-1].empty:  # pandas fills up rows that are too short, and does not tell
        with path.open(encoding="utf-8-sig", newline="") as file, contextlib.suppress(csv.Error):
            lines = csv.reader(file)
            for row in lines:
                if 0 < len(row) < len(header):
                    fields = f"{len(row)} of {len(header)} fields"
                    yield f"Line {lines.line_num:,} has {fields}, and the others count as empty: mend it."
                    break


def _column_warnings(columns: list[Column], target: Column | None) -> Iterator[str]:
    if gaps := ", ".join(f"{column.name} ({column.empty:,})" for column in columns if column.empty and column.numeric):
        remedy = "data.missing=drop leaves those rows out, data.missing=mean fills features with their mean"
        yield f"Empty fields in {gaps}: {remedy}."
    if words := ", ".join(column.name for column in columns if column.wordy):
        yield f"No numbers in {words}, so nothing for data.features."
    for column in columns:
        keep_out = f"keep {column.name} out of data.features"
        if column.kind == "empty":
            yield f"{column.name} has no values: {keep_out}."
        elif column.bad and not column.wordy:
            bad = f"{column.bad:,} of {column.count:,}, the first {column.first_bad[:40]!r}"
            yield f"{column.name} has values that are no float32 numbers ({bad}): empty those fields, or {keep_out}."
        elif column.numeric and column.min == column.max:
            yield f"{column.name} is {_number(column.min)} in every row: {keep_out}."
        elif column.is_large and column is not target:
            top = f"values up to {max(column.max, -column.min):,.0f}, which float32 cannot tell apart beyond {EXACT:,}"
            yield f"{column.name} has {top}: {keep_out} if it is an id."
        elif column.is_code and column is not target:
            form = f"a number by form ({column.min:.0f} to {column.max:.0f}) but perhaps a code by meaning"
            yield f"{column.name} is {form}: {keep_out} if its size says nothing."


def _moment_warnings(varied: list[Column], target: Column, parts: np.ndarray, rows: int) -> Iterator[str]:
    skewed = [column for column in varied if column.skewness > 2 and not (column.is_code or column.is_large)]
    if logs := [column.name for column in skewed if column.min > 0]:
        use = f"data.log_columns={_quote([target.name if target.name in logs else logs[0]])}"
        yield f"A few very large values in {', '.join(logs)}: logarithms of those in use may train better, as in {use}."
    if target in skewed and target.min <= 0:
        low = f"but is down to {_number(target.min)}, so it cannot be in data.log_columns"
        yield f"{target.name} has few very large values {low}: try loss=huber."
    edges = -(-np.arange(PARTS + 1) * rows // PARTS)
    lengths = np.maximum(np.diff(edges), 1)
    drift = parts / lengths / target.std
    worst = int(np.abs(drift).argmax())
    if abs(drift[worst]) > max(0.05, 4 / np.sqrt(lengths[worst])):  # 4 standard errors: hardly by chance
        part = (
            f"{_number(target.mean + drift[worst] * target.std)} in rows {edges[worst] + 1:,} to {edges[worst + 1]:,}"
        )
        remedy = "batch runs follow that, so shuffle the file's rows or keep learning_rate small"
        yield f"{target.name} drifts along the file, its mean is {part} and {_number(target.mean)} in all: {remedy}."


def _command(path: Path, varied: list[Column], target: Column) -> str:
    """Train on the column that goes best with `target`; on an id or code only where there is nothing else."""
    others = [column for column in varied if column is not target]
    plain = [column for column in others if not (column.is_code or column.is_large)]
    feature = max(plain or others, key=lambda column: abs(column.correlation))
    values = {"data.path": str(path), "data.features": [feature.name], "data.target": target.name}
    arguments = ["data=csv", *(f"{key}={_quote(value)}" for key, value in values.items())]
    if feature.empty or target.empty:
        arguments.append("data.missing=drop")
    if (target.min, target.max, target.distinct) == (0, 1, 2):
        arguments.append("loss=binary_crossentropy")
    return shlex.join(["harness", "train", *arguments])


def _quote(value: str | list[str]) -> str:
    """Return `value` as Hydra's grammar spells it."""
    if isinstance(value, list):
        return f"[{','.join(map(_quote, value))}]"
    if re.fullmatch(r"(?!(?i:true|false|null|nan|inf)$)[A-Za-z_/.][A-Za-z0-9_/.-]*", value):
        return value
    return '"' + re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), value) + '"'


def _number(value: float) -> str:
    """Return `value` in at most eight characters."""
    if value and not 1e-4 <= abs(value) < 1e6:
        return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.3g}")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"


def render(description: Description) -> RenderableType:
    """Lay `description` out for a terminal; print it with `soft_wrap=True`, else a very long path is cut."""
    table = Table("column", "kind", box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    table.columns[0].overflow, table.columns[1].no_wrap = "fold", True
    for heading in ("empty", "distinct", "mean", "std", "min", "max"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("example", no_wrap=True)
    for column in description.columns:
        statistics = map(_number, (column.mean, column.std, column.min, column.max)) if column.numeric else [""] * 4
        distinct = f"{MANY:,}+" if column.distinct is None else f"{column.distinct:,}"
        example = column.example if len(column.example) <= 12 else f"{column.example[:11]}…"
        cells = [column.name, column.kind, f"{column.empty:,}", distinct, *statistics, example]
        table.add_row(*(Text(" ".join(cell.split())) for cell in cells))
    size = f"{description.rows:,} rows, {len(description.columns):,} columns, {description.bytes:,} bytes"
    parts: list[RenderableType] = [Text(f"{description.path.name}: {size}\n", style="bold"), table]
    if description.warnings:
        notes = Table.grid(padding=(0, 1, 0, 0))
        for warning in description.warnings:
            notes.add_row("-", Text(warning, overflow="fold"))
        parts += [Text("\nWhat could go wrong", style="bold"), notes]
    if description.command:
        program, verb, *arguments = map(shlex.quote, shlex.split(description.command))
        command = " \\\n    ".join([f"{program} {verb}", *arguments])
        parts += [Text("\nA start", style="bold"), Text(command, no_wrap=True, overflow="ignore")]
    return Group(*parts)
