"""A first look at a file: its columns, what could go wrong with them, and a command to train on it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.data.files import open_file
from harness.data.precision import EXACT
from harness.data.profile import MANY, ColumnProfile, compare, profile
from harness.data.selection import BLOCK_BYTES
from harness.data.urls import name_of
from harness.escaping import visible
from harness.formatting import number
from harness.runtime.secrets import masked

TARGETS = ("price", "target", "label", "y")


@dataclass(frozen=True)
class Description:
    """What `describe` found in a file; `command` is empty if the file has nothing to train on."""

    address: str
    rows: int
    bytes: int
    columns: list[ColumnProfile]
    warnings: list[str]
    command: str


def describe(address: str, block_bytes: int = BLOCK_BYTES) -> Description:
    """Describe the file at `address`, reading it twice in constant memory.

    Raises:
        ConfigError: Training would reject the file, whichever columns were selected.
    """
    columns, rows = profile(address, block_bytes)
    varied = [column for column in columns if column.is_numeric and column.numbers.min < column.numbers.max]
    target = _guess_target(varied)
    warnings = [*_file_warnings(columns, rows), *_column_warnings(columns if rows else [], target)]
    command = ""
    if target:
        drift = compare(address, varied, target)
        warnings += _skewness_warnings(varied, target)
        if drifts := drift.describe(target.name, rows, target.numbers.mean, target.numbers.std):
            advice = "Batch runs follow the drift, so use data.order=shuffled or a small learning_rate."
            warnings.append(f"{drifts}. {advice}")
        if len(varied) > 1:
            command = _command(masked(address), varied, target)
    if not command:
        warnings.append("Training needs at least two numeric columns that are not constant.")
    return Description(masked(address), rows, open_file(address).size(), columns, warnings, command)


def _guess_target(varied: Sequence[ColumnProfile]) -> ColumnProfile | None:
    """Return the column whose name is typical of a target, else the last numeric column that is not a code."""
    named = [column for name in TARGETS for column in varied if column.name.lower() == name]
    return next(iter([*named, *(column for column in reversed(varied) if not column.is_code), *varied]), None)


def _file_warnings(columns: Sequence[ColumnProfile], rows: int) -> Iterator[str]:
    header = [column.name for column in columns]
    if not rows:
        yield "The file has a header but no rows."
    if len(header) == 1 and (separator := re.search(r"[;\t|]", header[0])):
        yield f"The only column is {header[0]!r}: train with data.delimiter={separator[0]!r}."
    if all(re.fullmatch(r"[\d.eE+-]+", name) for name in header):
        yield "The column names are numbers: if the first line is data, add a header."


def _column_warnings(columns: Sequence[ColumnProfile], target: ColumnProfile | None) -> Iterator[str]:
    gaps = [f"{column.name} ({column.empty:,})" for column in columns if column.is_numeric and column.empty]
    if gaps:
        yield (
            f"Empty fields in {', '.join(gaps)}: "
            "data.missing=drop leaves out those rows, data.missing=mean fills features with their mean."
        )
    words = [column.name for column in columns if column.is_words]
    if words:
        yield f"Not numeric: {', '.join(words)}. Use data.categorical or data.dates for them."
    for column in columns:
        if fault := _fault(column, column is target):
            yield f"{column.name} {fault}."


def _fault(column: ColumnProfile, is_target: bool) -> str:
    """Return the main reason not to train on a column; large numbers and codes are acceptable in a target."""
    keep_out = f"leave {column.name} out of data.features"
    low, high = column.numbers.min, column.numbers.max
    if column.kind == "empty":
        return f"has no values: {keep_out}"
    if column.is_words:
        return ""
    if column.bad:
        found = f"{column.bad:,} of {column.count:,}, the first {column.first_bad[:40]!r}"
        return f"has values that are not float32 numbers ({found}): empty those fields, or {keep_out}"
    if low == high:
        return f"is {number(low)} in every row: {keep_out}"
    if column.is_large and not is_target:
        top = f"has values up to {max(high, -low):,.0f}, but float32 is exact only up to {EXACT:,.0f}"
        return f"{top}: {keep_out} if it is an id"
    if column.is_code and not is_target:
        return f"may be a code rather than a quantity ({low:.0f} to {high:.0f}): if so, {keep_out}"
    return ""


def _skewness_warnings(varied: Sequence[ColumnProfile], target: ColumnProfile) -> Iterator[str]:
    skewed = [column for column in varied if column.skewness > 2 and not (column.is_code or column.is_large)]
    positive = [column.name for column in skewed if column.numbers.min > 0]
    if positive:
        example = target.name if target.name in positive else positive[0]
        yield (
            f"A few very large values in {', '.join(positive)}: "
            f"their logarithms may train better, for example data.log_columns={_quote([example])}."
        )
    if target in skewed and target.name not in positive:
        yield (
            f"{target.name} has a few very large values, but also {number(target.numbers.min)}, "
            "so it cannot be in data.log_columns: try loss=huber."
        )


def _command(address: str, varied: Sequence[ColumnProfile], target: ColumnProfile) -> str:
    """Return a command that trains on the column most correlated with `target`; ids and codes are a last resort."""
    others = [column for column in varied if column is not target]
    plain = [column for column in others if not (column.is_code or column.is_large)]
    feature = max(plain or others, key=lambda column: abs(column.correlation))
    values = {"data.path": address, "data.features": [feature.name], "data.target": target.name}
    arguments = ["data=csv", *(f"{key}={_quote(value)}" for key, value in values.items())]
    if feature.empty or target.empty:
        arguments.append("data.missing=drop")
    if (target.numbers.min, target.numbers.max, target.distinct) == (0, 1, 2):
        arguments.append("loss=binary_crossentropy")
    return shlex.join(["harness", "train", *arguments])


def _quote(value: str | list[str]) -> str:
    """Quote `value` for Hydra."""
    if isinstance(value, list):
        return f"[{','.join(map(_quote, value))}]"
    if re.fullmatch(r"(?!(?i:true|false|null|nan|inf)$)[A-Za-z_/.][A-Za-z0-9_/.-]*", value):
        return value
    return '"' + re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), value) + '"'


def render(description: Description) -> RenderableType:
    """Lay out `description` for a terminal; print it with `soft_wrap=True`, or very long paths are cut off."""
    size = f"{description.rows:,} rows, {len(description.columns):,} columns, {description.bytes:,} bytes"
    title = Text(f"{visible(name_of(description.address))}: {size}\n", style="bold")
    parts: list[RenderableType] = [title, _table(description.columns)]
    if description.warnings:
        notes = Table.grid(padding=(0, 1, 0, 0))
        for warning in description.warnings:
            notes.add_row("-", Text(visible(warning), overflow="fold"))
        parts += [Text("\nWhat could go wrong", style="bold"), notes]
    if description.command:
        program, verb, *arguments = map(visible, map(shlex.quote, shlex.split(description.command)))
        command = " \\\n    ".join([f"{program} {verb}", *arguments])
        parts += [Text("\nTo start", style="bold"), Text(command, no_wrap=True, overflow="ignore")]
    return Group(*parts)


def _table(columns: Sequence[ColumnProfile]) -> Table:
    table = Table("column", "kind", box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    table.columns[0].overflow, table.columns[0].min_width, table.columns[1].no_wrap = "fold", 11, True
    for heading in ("empty", "distinct", "mean", "std", "min", "max"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("first", no_wrap=True)
    for column in columns:
        found = column.numbers
        statistics = map(number, (found.mean, found.std, found.min, found.max)) if column.is_numeric else [""] * 4
        distinct = f"{MANY:,}+" if column.distinct is None else f"{column.distinct:,}"
        example = column.example if len(column.example) <= 6 else f"{column.example[:5]}…"
        cells = [column.name, column.kind, f"{column.empty:,}", distinct, *statistics, example]
        table.add_row(*(Text(visible(" ".join(cell.split()))) for cell in cells))
    return table
