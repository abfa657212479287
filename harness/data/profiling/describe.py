"""A first look at a file: its format, its columns, what could go wrong, and a command to train on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.config.overrides import override
from harness.data.csv.other_kinds import READABLE
from harness.data.csv.source import CsvSource
from harness.data.formats import open_source
from harness.data.precision import EXACT
from harness.data.profiling.layout import command_to_start, notes_under
from harness.data.profiling.profile import MANY, MOST_CELLS, ColumnProfile, Profile, compare, profile
from harness.data.profiling.sniff import Sniffed, sniff
from harness.data.profiling.suggest import (
    choose_target,
    command_for,
    date_settings,
    is_label,
    is_varied,
    loss_for,
    suggest,
)
from harness.data.selection import BLOCK_BYTES, Selection
from harness.data.storage.addresses import find_addresses
from harness.data.storage.files import open_file
from harness.data.storage.urls import name_of
from harness.errors import ConfigError, require
from harness.escaping import visible
from harness.formatting import number
from harness.runtime.secrets import masked

RARE = 10
"""Labels are reported as rare if one has at least this many times as many rows as another."""


@dataclass(frozen=True)
class Description:
    """What `describe` found in files.

    Attributes:
        rows: Number of rows that were read.
        share: Fraction of the bytes that were read.
        dialect: Keys of `data` that describe the file's format, if it is not a plain CSV.
        command: A command to train on the file; empty if there is nothing to train on.
    """

    address: str
    rows: int
    bytes: int
    columns: list[ColumnProfile]
    warnings: list[str]
    command: str
    share: float = 1.0
    dialect: dict[str, Any] = field(default_factory=dict)


def describe(
    path: str | Sequence[str], block_bytes: int = BLOCK_BYTES, *, target: str | None = None, everything: bool = False
) -> Description:
    """Describe the files at `path`, an address, a pattern or a list of these, in constant memory.

    Args:
        path: What `data.path` would be.
        block_bytes: Bytes parsed at once.
        target: The column to predict; None means to guess.
        everything: Whether to read everything, even more than about `MOST_CELLS` fields.

    Raises:
        ConfigError: Training would reject the files whatever the settings.
    """
    addresses = find_addresses(path)
    is_text = isinstance(open_source(addresses[0], Selection(())), CsvSource)
    sniffed = sniff(open_file(addresses[0])) if is_text else Sniffed()
    try:
        found = profile(addresses, sniffed.dialect, block_bytes, most_cells=math.inf if everything else MOST_CELLS)
    except ConfigError:
        not_a_table = f"{masked(addresses[0])} is text, but not a table: no delimiter splits its lines into columns."
        require(sniffed.has_columns, f"{not_a_table} {READABLE}")
        raise
    columns, rows = found.columns, found.rows
    is_joined = any(column.repeats_header for column in columns)
    chosen = choose_target(columns, target) if rows and not is_joined else None
    warnings = [*sniffed.found, *_file_warnings(found), *_column_warnings(columns if rows else [], chosen)]
    command, more = "", dict[str, Any]()
    if chosen:
        varied = [column for column in columns if is_varied(column)]
        if chosen in varied:
            drift = compare(addresses, found, varied, chosen)
            warnings += _skewness_warnings(varied, chosen)
            if _can_take_logs(chosen) and not loss_for(chosen):
                more["data.log_columns"] = [chosen.name]
            if drifts := drift.describe(chosen.name, rows, chosen.numbers.mean, chosen.numbers.std):
                advice = "Batch runs follow the drift, so use data.order=shuffled or a small learning_rate."
                warnings.append(f"{drifts}. {advice}")
                more["data.order"] = "shuffled"
        if settings := suggest(columns, chosen):
            shown = masked(path) if isinstance(path, str) else [masked(each) for each in path]
            command = command_for(shown, sniffed.keys, settings | more)
    if not command:
        warnings.append("Training needs a target and at least one more column, neither of them constant.")
    size = sum(open_file(address).size() for address in addresses)
    address = path if isinstance(path, str) else addresses[0]
    return Description(masked(address), rows, size, columns, warnings, command, found.share, sniffed.keys)


def _file_warnings(found: Profile) -> Iterator[str]:
    if not found.rows:
        yield "The file has a header but no rows."
    if found.share < 1:
        yield (
            f"Only the first {found.rows:,} rows were read, {found.share:.0%} of the file: all figures refer to these. "
            f"Add --all to read the rest."
        )
    if found.duplicates:
        yield f"More than one column is named {', '.join(found.duplicates)}: set data.names to use them."


def _column_warnings(columns: Sequence[ColumnProfile], target: ColumnProfile | None) -> Iterator[str]:
    if any(column.repeats_header for column in columns):
        yield (
            "The header is repeated among the rows, as in concatenated files: remove these lines, or list the original "
            "files in data.path."
        )
    gaps = [column for column in columns if column.empty and (column.is_numeric or column.is_words)]
    if gaps:
        words = " and treats empty categories as unknown" if any(column.is_words for column in gaps) else ""
        yield (
            f"Empty fields in {', '.join(f'{column.name} ({column.empty:,})' for column in gaps)}: data.missing=drop "
            f"leaves out those rows, data.missing=mean fills features with their mean{words}."
        )
    words = [column for column in columns if column.is_words and column.kind != "boolean" and column is not target]
    dated = [column for column in words if column.kind == "date"]
    if dated:
        formats = {column.name: column.date_format for column in dated}
        keys = " ".join(override(key, value) for key, value in date_settings(formats).items())
        yield f"Dates: {', '.join(column.name for column in dated)}. Use {keys}."
    for column in dated:
        form = column.date_format or ""
        if "/" in form and form.startswith(("%m", "%d")) and _is_ambiguous(column):
            yield f"{column.name}: the order of day and month is ambiguous; data.date_format assumes {form}."
    text = [column.name for column in words if column.kind != "date"]
    if text:
        yield f"Text: {', '.join(text)}. Use data.categorical for categories, or leave them out."
    if target and is_label(target) and target.kind == "text":
        labels = ", ".join(f"{label} ({rows:,})" for label, rows in target.counts.items())
        yield f"{target.name} has the labels {labels}: they are trained as 0, 1, ..., in this order."
        if RARE * min(target.counts.values()) < max(target.counts.values()):
            yield f"Some labels of {target.name} are rare: data.class_weight=balanced gives them more weight."
    for column in columns:
        if fault := _fault(column, column is target):
            yield f"{column.name} {fault}."


def _fault(column: ColumnProfile, is_target: bool) -> str:
    """Return the main reason not to train on a column; targets may have large numbers and codes."""
    keep_out = f"leave {column.name} out of data.features"
    low, high = column.numbers.min, column.numbers.max
    if column.kind == "empty":
        return f"has no values: {keep_out}"
    if column.is_words or column.kind == "boolean":
        return ""
    if column.bad:
        found = f"{column.bad:,} of {column.count:,}, the first {column.first_bad[:40]!r}"
        return f"has values that are not float32 numbers ({found}): empty those fields, or {keep_out}"
    if low == high and column.kind == "integer" and column.distinct != 1:
        return f"has whole numbers that differ only in digits that float64 rounds away: {keep_out}"
    if low == high:
        return f"is {number(low)} in every row: {keep_out}"
    if column.is_large and not is_target:
        top = f"has values up to {max(high, -low):,.0f}, but float32 is exact only up to {EXACT:,.0f}"
        return f"{top}: {keep_out} if it is an id"
    if column.is_code and not is_target:
        return f"may be a code rather than a quantity ({low:.0f} to {high:.0f}): if so, {keep_out}"
    return ""


def _is_ambiguous(column: ColumnProfile) -> bool:
    """Return True if no known value of a date column has a first or second number above 12."""
    parts = [word.replace("-", "/").split("/")[:2] for word in column.words]
    return bool(parts) and all(part.strip().isdigit() and int(part) <= 12 for pair in parts for part in pair)


def _is_skewed(column: ColumnProfile) -> bool:
    return column.skewness > 2 and not (column.is_code or column.is_large)


def _can_take_logs(column: ColumnProfile) -> bool:
    """Return True if a column's logarithms may train better than its values."""
    return _is_skewed(column) and column.numbers.min > 0


def _skewness_warnings(varied: Sequence[ColumnProfile], target: ColumnProfile) -> Iterator[str]:
    skewed = [column for column in varied if _is_skewed(column)]
    positive = [column.name for column in skewed if _can_take_logs(column)]
    if positive:
        example = target.name if target.name in positive else positive[0]
        yield (
            f"A few values in {', '.join(positive)} are very large: their logarithms may train better, for example "
            f"{override('data.log_columns', [example])}."
        )
    if target in skewed and target.name not in positive:
        yield (
            f"{target.name} has a few very large values, but also {number(target.numbers.min)}, "
            "so it cannot be in data.log_columns: try loss=huber."
        )


def render(description: Description) -> RenderableType:
    """Lay out `description` for a terminal; print it with `soft_wrap=True`, or very long paths are cut off."""
    rows = f"{description.rows:,} rows" if description.share == 1 else f"the first {description.rows:,} rows"
    size = f"{rows}, {len(description.columns):,} columns, {description.bytes:,} bytes"
    title = Text(f"{visible(name_of(description.address))}: {size}\n", style="bold")
    parts: list[RenderableType] = [title, _table(description.columns)]
    if description.dialect:
        keys = " ".join(override(f"data.{key}", value) for key, value in description.dialect.items())
        parts += [Text("\nFile format", style="bold"), Text(visible(keys), no_wrap=True, overflow="ignore")]
    parts += notes_under("What could go wrong", description.warnings)
    parts += command_to_start(description.command)
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
