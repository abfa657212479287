"""Ingests a source in one pass: checks and splits its rows, computes statistics, and writes columns."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from harness.config import DataConfig, Missing, Order
from harness.data.classes import ClassVocabulary
from harness.data.formats import open_source
from harness.data.precision import Offsets
from harness.data.selection import BLOCK_BYTES, Chunk, Selection, Words
from harness.data.source import Booleans
from harness.data.split import Split
from harness.data.statistics import Column, Drift, Moments
from harness.data.tables.manifest import Facts
from harness.data.tables.pages import ALL_PARTS, PARTS, Part, page_rows_of
from harness.data.tables.table import Table
from harness.data.tables.writer import PartWriter
from harness.data.vocabulary import Vocabulary
from harness.errors import ConfigError, require
from harness.runtime.prefetch import prefetch
from harness.runtime.secrets import masked

MUCH = 0.1
"""Fraction of the rows that may be left out without a message."""


class IngestProgress(NamedTuple):
    """Rows and bytes read or generated so far; `total` bytes is 0 if unknown."""

    what: Literal["reading", "generating", "predicting"]
    rows: int
    bytes: int = 0
    total: int = 0


ProgressCallback = Callable[[IngestProgress], None]


def ingest(
    addresses: Sequence[str], data: DataConfig, folder: Path, progress: ProgressCallback, block_bytes: int = BLOCK_BYTES
) -> Table:
    """Write the columns that `data` names from the files at `addresses` into `folder`.

    Raises:
        ConfigError: A row is invalid, or no usable rows remain.
        OSError: The folder cannot be written to, or the disk is full.
    """
    rows = _Rows(data)
    planned = [_planned(name, data) for name in data.columns]
    page_rows, features, weights = page_rows_of(planned), len(data.features), len(data.features) + len(data.targets)
    # No page of a part is full before the first `page_rows` rows are known.
    offsets = Offsets([column.name not in data.categorical for column in planned], page_rows)
    with contextlib.ExitStack() as stack:
        parts: dict[Part, PartWriter] = {
            part: stack.enter_context(PartWriter(folder, part, data, planned, page_rows, rows.vocabularies, offsets))
            for part in (ALL_PARTS if data.test else PARTS)
        }
        split = Split.of(data)
        chunks = read_all(addresses, Selection.of(data, block_bytes))
        for chunk, position, total in stack.enter_context(contextlib.closing(prefetch(chunks))):
            first_row, rows.seen = rows.seen, rows.seen + chunk.rows
            values, keep = rows.settle(chunk)
            selected = split.parts(first_row, chunk.rows)
            for drift, target in zip(rows.drifts, values[features:weights], strict=True):
                drift.add(first_row, np.where(keep, target, np.nan))
            offsets.add(values, keep)
            for part, writer in parts.items():
                writer.add(values, keep & selected[part])
            progress(IngestProgress("reading", rows.seen, position, total))
        names = ", ".join(map(masked, addresses))
        require(rows.seen > 0, f"data.path: no rows below the header in {names}.")
        require(
            parts["train"].rows > 0,
            f"No rows are left to train on: of {rows.seen}, {rows.dropped} were dropped and the rest "
            f"held out{' or set aside for testing' if data.test else ''}.",
        )
        for part in parts.values():
            part.flush()
        train = parts["train"]
        columns = tuple(
            _column(replace(column, offset=offset, rounding=rounding), moments, rows.vocabularies.get(column.name))
            for column, moments, offset, rounding in zip(
                planned, train.moments, offsets.values().tolist(), train.rounding, strict=True
            )
        )
        sums = b"".join(part.finish(columns, rows.filled > 0) for part in parts.values())
    targets = columns[features:weights]
    _check_weights(columns[weights:])
    found: list[str] = []
    if data.order is Order.file:
        measured = zip(targets, rows.drifts, train.moments[features:weights], strict=True)
        found = [_describe_drift(drift, target, moments, rows.seen) for target, drift, moments in measured]
    facts = Facts(
        features=columns[:features],
        targets=targets,
        weights=columns[weights:],
        page_rows=page_rows,
        train_rows=train.rows,
        holdout_rows=parts["holdout"].rows,
        test_rows=parts["test"].rows if data.test else 0,
        dropped=rows.dropped,
        filled=rows.filled,
        drift="; ".join(filter(None, found)),
        notes=tuple(filter(None, [rows.describe_dropped()])),
    )
    return Table.of(facts, sums, folder, masked(addresses[0]), data)


def read_all(addresses: Sequence[str], selection: Selection) -> Iterator[tuple[Chunk, int, int]]:
    """Yield the chunks of all files, each with the bytes read so far and the total, 0 if unknown."""
    sources = [open_source(address, selection) for address in addresses]
    sizes = [source.file.size() for source in sources]
    total = sum(sizes) if all(sizes) else 0
    booleans = Booleans()
    for index, source in enumerate(sources):
        with contextlib.closing(source.chunks(booleans)) as chunks:
            for chunk in chunks:
                yield chunk, sum(sizes[:index]) + chunk.position, total


class _Rows:
    """Counts rows, and handles empty fields, logarithms and categories chunk by chunk."""

    def __init__(self, data: DataConfig) -> None:
        self.seen = self.dropped = self.filled = 0
        self._gaps = np.zeros(len(data.columns), np.int64)
        self._unknown = 0
        self.drifts = [Drift() for _ in data.targets]
        self.vocabularies = {
            name: ClassVocabulary(name, data.classes) if name in data.targets else Vocabulary(name)
            for name in data.categorical
        }
        self._data = data
        # Columns that are not filled.
        self._required = {*data.targets, data.weight}

    def settle(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        """Return the values, float64 `[columns, rows]`, and which rows to keep, bool `[rows]`.

        Fields that are yet to be filled are NaN.
        """
        columns = [
            self.vocabularies[name].encode(*column) if isinstance(column, Words) else column
            for name, column in zip(self._data.columns, chunk.columns, strict=True)
        ]
        values = np.stack(columns)
        keep = self._settle_empty(values, chunk)
        for name, codes in zip(self._data.columns, values, strict=True):
            if isinstance(vocabulary := self.vocabularies.get(name), ClassVocabulary):
                vocabulary.mark_kept(codes[keep])
        if self._data.weight and (bad := (values[-1] < 0) & keep).any():
            row = int(bad.argmax())
            found = f"{self._data.weight} is {values[-1, row]:g}"
            raise ConfigError(f"{chunk.locate(row)}: {found}, but a weight must not be negative.")
        logs = [index for index, name in enumerate(self._data.columns) if name in self._data.log_columns]
        if logs:
            self._take_logs(values, logs, keep, chunk)
        values += 0.0  # Turns -0 into 0, because whether a parser keeps the sign depends on the rest of the column.
        return values, keep

    def _settle_empty(self, values: np.ndarray, chunk: Chunk) -> np.ndarray:
        missing, names = self._data.missing, self._data.columns
        # A sum is NaN if any of its terms is; infinite values were rejected earlier.
        gaps = [index for index, column in enumerate(values) if math.isnan(column.sum())]
        if missing is Missing.drop and gaps:
            is_gap = np.isnan(values[gaps])
            for index, empty in zip(gaps, is_gap, strict=True):
                column = chunk.columns[index]
                unknown = empty & (column.codes >= 0) if isinstance(column, Words) else np.zeros(1, bool)
                self._unknown += int(unknown.sum())
                self._gaps[index] += int(empty.sum() - unknown.sum())
            empty = is_gap.any(axis=0)
            self.dropped += int(empty.sum())
            return np.logical_not(empty)
        refused = gaps if missing is Missing.error else [index for index in gaps if names[index] in self._required]
        if refused:
            row, index = min((int(np.isnan(values[index]).argmax()), index) for index in refused)
            column = chunk.columns[index]
            if isinstance(column, Words) and column.codes[row] >= 0:
                vocabulary: Any = self.vocabularies[names[index]]
                raise ConfigError(
                    f"{chunk.locate(row)}: {vocabulary.describe_unknown(column.values[column.codes[row]])}"
                )
            remedy = "data.missing=drop" + ("" if names[index] in self._required else " or data.missing=mean")
            raise ConfigError(f"{chunk.locate(row)}: {names[index]} is empty. Set {remedy}.")
        self.filled += int(np.isnan(values[gaps]).sum())
        return np.ones(chunk.rows, bool)

    def describe_dropped(self) -> str:
        """Return a sentence, without a period, on how many rows were left out and why; empty if they were few."""
        if self.dropped <= MUCH * self.seen:
            return ""
        order = np.argsort(-self._gaps, kind="stable")[:5]
        blamed = [f"{self._data.columns[index]} ({self._gaps[index] / self.seen:.0%})" for index in order]
        shown = ", ".join(name for name, index in zip(blamed, order, strict=True) if self._gaps[index])
        reasons = [f"empty fields are in {shown}"] if shown else []
        if self._unknown:
            reasons += [f"{self._unknown / self.seen:.0%} have labels that are not in data.classes"]
        return f"data.missing=drop left out {self.dropped / self.seen:.0%} of the rows; {', and '.join(reasons)}"

    def _take_logs(self, values: np.ndarray, logs: list[int], keep: np.ndarray, chunk: Chunk) -> None:
        """Replace the columns `logs` with their logarithms, in place."""
        refused = (values[logs] <= 0) & keep
        if refused.any():
            row = int(refused.any(axis=0).argmax())
            index = logs[int(refused[:, row].argmax())]
            found = f"{self._data.columns[index]} is {values[index, row]:g}"
            raise ConfigError(f"{chunk.locate(row)}: {found}, and data.log_columns needs positive numbers.")
        for index in logs:
            np.log(values[index], out=values[index], where=values[index] > 0)


def _column(column: Column, moments: Moments, vocabulary: Vocabulary | None) -> Column:
    require(moments.count > 0, f"{column.name} is empty in all training rows; remove it from data.features.")
    count = moments.count
    if vocabulary is None:
        return replace(column, count=count, mean=moments.mean, std=moments.std, min=moments.min, max=moments.max)
    categories = vocabulary.categories()
    last = len(categories) - 1 if isinstance(vocabulary, ClassVocabulary) else len(categories)
    return replace(column, count=count, max=float(last), categories=categories)


def _planned(name: str, data: DataConfig) -> Column:
    """Return a column whose values are not known yet."""
    column = Column(name, name in data.log_columns, 0, 0.0, 1.0, 0.0, 0.0)
    is_class = name in data.targets and name in data.categorical
    return replace(column, dtype="int32") if is_class else column


def _check_weights(weights: Sequence[Column]) -> None:
    for column in weights:
        require(column.mean > 0, f"data.weight: {column.name} is 0 in all training rows.")


def _describe_drift(drift: Drift, target: Column, moments: Moments, rows: int) -> str:
    """Describe how a target drifts across the rows; for classes, whose codes are arbitrary, only say that it does."""
    if target.categories:
        is_even = drift.worst(rows, moments.mean, moments.std) is None
        return "" if is_even else f"the classes of {target.name} are not spread evenly across the rows"
    name = f"log({target.name})" if target.log else target.name
    return drift.describe(name, rows, moments.mean, moments.std)
