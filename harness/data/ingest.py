"""Ingests a source in one pass: checks and splits its rows, computes statistics, and writes float32 columns."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from harness.config import DataConfig, Missing, Order
from harness.data.formats import open_source
from harness.data.source import BLOCK_BYTES, Chunk, Selection, Words
from harness.data.split import held_out
from harness.data.statistics import Column, Drift, Moments
from harness.data.table import Table
from harness.data.table_writer import PARTS, PartWriter
from harness.data.vocabulary import Vocabulary
from harness.errors import ConfigError, require
from harness.runtime.prefetch import prefetch
from harness.runtime.secrets import masked


class IngestProgress(NamedTuple):
    """Rows and bytes read or generated so far; `total` bytes is 0 if unknown."""

    what: Literal["reading", "generating"]
    rows: int
    bytes: int = 0
    total: int = 0


ProgressCallback = Callable[[IngestProgress], None]


def ingest(
    addresses: Sequence[str], data: DataConfig, folder: Path, progress: ProgressCallback, block_bytes: int = BLOCK_BYTES
) -> Table:
    """Write the columns that `data` names from the files at `addresses` into `folder`.

    Raises:
        ConfigError: A row is invalid, or no usable rows are left.
        OSError: The folder cannot be written to, or the disk is full.
    """
    rows = _Rows(data)
    with contextlib.ExitStack() as stack:
        parts = {part: stack.enter_context(PartWriter(folder, part, data, rows.vocabularies)) for part in PARTS}
        chunks = _read_all(addresses, Selection.of(data, block_bytes))
        for chunk, position, total in stack.enter_context(contextlib.closing(prefetch(chunks))):
            first_row, rows.seen = rows.seen, rows.seen + chunk.rows
            values, keep = rows.settle(chunk)
            out = held_out(first_row, chunk.rows, data.holdout, data.split_seed)
            rows.drift.add(first_row, np.where(keep, values[-1], np.nan))
            parts["train"].add(values, keep & ~out)
            parts["holdout"].add(values, keep & out)
            progress(IngestProgress("reading", rows.seen, position, total))
        names = ", ".join(map(masked, addresses))
        require(rows.seen > 0, f"data.path: no rows below the header in {names}.")
        require(
            parts["train"].rows > 0,
            f"No rows are left to train on: of {rows.seen}, {rows.dropped} were dropped and the rest held out.",
        )
        for part in parts.values():
            part.flush()
        columns = tuple(
            _column(name, name in data.log_columns, moments, rows.vocabularies.get(name))
            for name, moments in zip(data.columns, parts["train"].moments, strict=True)
        )
        digests = [digest for part in parts.values() for digest in part.finish(columns, rows.filled > 0)]
    target, name = columns[-1], f"log({data.target})" if columns[-1].log else data.target
    return Table(
        folder=folder,
        address=masked(addresses[0]),
        columns=columns,
        train_rows=parts["train"].rows,
        holdout_rows=parts["holdout"].rows,
        dropped=rows.dropped,
        filled=rows.filled,
        drift=rows.drift.describe(name, rows.seen, target.mean, target.std) if data.order is Order.file else "",
        digest=digest_of(columns, digests),
        order=data.order,
        split_seed=data.split_seed,
    )


def digest_of(columns: Sequence[Column], digests: Sequence[str]) -> str:
    """Return a table's digest, computed from the digests of its files and its columns' names and categories."""
    described = [[column.name for column in columns], [column.log for column in columns], digests]
    categories = [column.categories for column in columns]
    described += [categories] if any(categories) else []
    return hashlib.blake2b(json.dumps(described).encode(), digest_size=16).hexdigest()


def _read_all(addresses: Sequence[str], selection: Selection) -> Iterator[tuple[Chunk, int, int]]:
    """Yield the chunks of all files, each with the bytes read so far and the total, 0 if unknown."""
    sources = [open_source(address, selection) for address in addresses]
    sizes = [source.file.size() for source in sources]
    total = sum(sizes) if all(sizes) else 0
    for index, source in enumerate(sources):
        with contextlib.closing(source.chunks()) as chunks:
            for chunk in chunks:
                yield chunk, sum(sizes[:index]) + chunk.position, total


class _Rows:
    """Counts rows, and handles empty fields, logarithms and categories chunk by chunk."""

    def __init__(self, data: DataConfig) -> None:
        self.seen = self.dropped = self.filled = 0
        self.drift = Drift()
        self.vocabularies = {name: Vocabulary(name) for name in data.categorical}
        self._data = data

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
        logs = [index for index, name in enumerate(self._data.columns) if name in self._data.log_columns]
        if logs:
            self._take_logs(values, logs, keep, chunk)
        values += 0.0  # Turns -0 into 0: whether a parser keeps its sign depends on the rest of the column.
        return values, keep

    def _settle_empty(self, values: np.ndarray, chunk: Chunk) -> np.ndarray:
        missing, names = self._data.missing, self._data.columns
        # A sum is NaN if any of its terms is; infinite values were rejected earlier.
        gaps = [index for index, column in enumerate(values) if math.isnan(column.sum())]
        if missing is Missing.drop and gaps:
            empty = np.isnan(values[gaps]).any(axis=0)
            self.dropped += int(empty.sum())
            return np.logical_not(empty)
        refused = gaps if missing is Missing.error else [index for index in gaps if names[index] == self._data.target]
        if refused:
            row, index = min((int(np.isnan(values[index]).argmax()), index) for index in refused)
            remedy = "data.missing=drop" + (" or data.missing=mean" if names[index] != self._data.target else "")
            raise ConfigError(f"{chunk.locate(row)}: {names[index]} is empty. Set {remedy}.")
        self.filled += int(np.isnan(values[gaps]).sum())
        return np.ones(chunk.rows, bool)

    def _take_logs(self, values: np.ndarray, logs: list[int], keep: np.ndarray, chunk: Chunk) -> None:
        """Replace the columns `logs` by their logarithms, in place."""
        refused = (values[logs] <= 0) & keep
        if refused.any():
            row = int(refused.any(axis=0).argmax())
            index = logs[int(refused[:, row].argmax())]
            found = f"{self._data.columns[index]} is {values[index, row]:g}"
            raise ConfigError(f"{chunk.locate(row)}: {found}, and data.log_columns needs positive numbers.")
        for index in logs:
            np.log(values[index], out=values[index], where=values[index] > 0)


def _column(name: str, log: bool, moments: Moments, vocabulary: Vocabulary | None) -> Column:
    require(moments.count > 0, f"{name} is empty in all training rows; remove it from data.features.")
    if vocabulary is None:
        return Column(name, log, moments.count, moments.mean, moments.std, moments.min, moments.max)
    categories = vocabulary.categories()
    return Column(name, log, moments.count, 0.0, 1.0, 0.0, float(len(categories)), categories)
