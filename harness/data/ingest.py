"""One pass over a source: its rows are checked, split, measured and written as float32 columns."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.config import DataConfig, Missing, Order, Reader
from harness.data.readers import Chunk, Selection, Words, read
from harness.data.sources import is_stream
from harness.data.statistics import Column, Drift, Moments
from harness.data.table_writer import PARTS, PartWriter
from harness.data.vocabulary import Vocabulary
from harness.errors import ConfigError, require
from harness.runtime.prefetch import prefetch


class IngestProgress(NamedTuple):
    """How far the work on a source is.

    Attributes:
        what: `reading` or `generating`.
        rows: Done so far.
        bytes: Of the source, read so far.
        total: All bytes of the source; 0 if that is not known.
    """

    what: str
    rows: int
    bytes: int = 0
    total: int = 0


ProgressCallback = Callable[[IngestProgress], None]


@dataclass(frozen=True)
class Ingested:
    """What one pass found; `harness.data.table.Table` says what the fields mean."""

    columns: list[Column]
    train_rows: int
    holdout_rows: int
    dropped: int
    filled: int
    drift: str
    digest: str


def ingest(
    files: Sequence[Path], data: DataConfig, reader: Reader, folder: Path, progress: ProgressCallback
) -> Ingested:
    """Write the columns of `files` that `data` names into `folder`.

    Raises:
        ConfigError: A row, or all of them, cannot be used.
        OSError: The folder cannot be written to, or is full.
    """
    rows = _Rows(data)
    with contextlib.ExitStack() as stack:
        parts = {part: stack.enter_context(PartWriter(folder, part, data, rows.vocabularies)) for part in PARTS}
        chunks = stack.enter_context(contextlib.closing(prefetch(_read_all(files, data, reader))))
        for chunk, position, total in chunks:
            first_row, rows.seen = rows.seen, rows.seen + _length(chunk)
            values, keep = rows.settle(chunk)
            out = held_out(first_row, values.shape[1], data.holdout, data.split_seed)
            rows.drift.add(first_row, np.where(keep, values[-1], np.nan) if keep is not None else values[-1])
            parts["train"].add(values, ~out if keep is None else keep & ~out)
            parts["holdout"].add(values, out if keep is None else keep & out)
            progress(IngestProgress("reading", rows.seen, position, total))
        require(rows.seen > 0, "data.path expected rows below the header", f"none in {', '.join(map(str, files))}")
        left = f"{rows.seen} rows, {rows.dropped} dropped, the rest held out"
        require(parts["train"].rows > 0, "the split expected a training row", left)
        for part in parts.values():
            part.flush()
        columns = [
            _column(name, name in data.log_columns, moments, rows.vocabularies.get(name))
            for name, moments in zip(data.columns, parts["train"].moments, strict=True)
        ]
        digests = [digest for part in parts.values() for digest in part.finish(columns, rows.filled > 0)]
    return Ingested(
        columns=columns,
        train_rows=parts["train"].rows,
        holdout_rows=parts["holdout"].rows,
        dropped=rows.dropped,
        filled=rows.filled,
        drift=_say_drift(rows.drift, rows.seen, columns[-1]) if data.order is Order.file else "",
        digest=digest_of(columns, digests),
    )


def digest_of(columns: Sequence[Column], digests: Sequence[str]) -> str:
    """Return the digest of a table, from those of its files, its columns' names and their categories."""
    described = [[column.name for column in columns], [column.log for column in columns], digests]
    categories = [column.categories for column in columns]
    described += [categories] if any(categories) else []
    return hashlib.blake2b(json.dumps(described).encode(), digest_size=16).hexdigest()


def _read_all(files: Sequence[Path], data: DataConfig, reader: Reader) -> Iterator[tuple[Chunk, int, int]]:
    """Yield the chunks of all files, and the bytes that were read before each is done, of how many."""
    sizes = [0 if is_stream(file) else file.stat().st_size for file in files]
    total = sum(sizes) if all(sizes) else 0
    for index, file in enumerate(files):
        with contextlib.closing(read(file, Selection.of(data), reader)) as chunks:
            for chunk in chunks:
                yield chunk, sum(sizes[:index]) + chunk.position, total


def _length(chunk: Chunk) -> int:
    first = chunk.columns[0]
    return len(first.codes if isinstance(first, Words) else first)


class _Rows:
    """What all rows so far came to; it settles empty fields, logarithms and categories, chunk by chunk."""

    def __init__(self, data: DataConfig) -> None:
        self.seen = self.dropped = self.filled = 0
        self.drift = Drift()
        self.vocabularies = {name: Vocabulary(name) for name in data.categorical}
        self._data = data

    def settle(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray | None]:
        """Return values, float64 `[columns, rows]`, and which rows are kept, bool `[rows]`; None means all.

        A field that is to be filled is NaN.
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
        values += 0.0  # Makes -0 a 0: whether a parser keeps its sign depends on what else is in a column.
        return values, keep

    def _settle_empty(self, values: np.ndarray, chunk: Chunk) -> np.ndarray | None:
        missing, names = self._data.missing, self._data.columns
        # A sum is NaN if one of its terms is; infinite ones have been refused.
        gaps = [index for index, column in enumerate(values) if math.isnan(column.sum())]
        if not gaps:
            return None
        if missing is Missing.drop:
            keep: np.ndarray = np.logical_not(np.isnan(values[gaps]).any(axis=0))
            self.dropped += int((~keep).sum())
            return keep
        refused = gaps if missing is Missing.error else [index for index in gaps if names[index] == self._data.target]
        if refused:
            row, index = min((int(np.isnan(values[index]).argmax()), index) for index in refused)
            remedy = "data.missing=drop" + (" or data.missing=mean" if names[index] != self._data.target else "")
            raise ConfigError(
                f"{names[index]} expected a value in every row. Received: an empty field in {chunk.place(row)}. "
                f"Use {remedy}."
            )
        self.filled += int(np.isnan(values[gaps]).sum())
        return None

    def _take_logs(self, values: np.ndarray, logs: list[int], keep: np.ndarray | None, chunk: Chunk) -> None:
        """Replace the columns `logs` by their logarithms, in place."""
        refused = values[logs] <= 0 if keep is None else (values[logs] <= 0) & keep
        if refused.any():
            row = int(refused.any(axis=0).argmax())
            index = logs[int(refused[:, row].argmax())]
            received = f"{values[index, row]:g} for {self._data.columns[index]} in {chunk.place(row)}"
            raise ConfigError(f"data.log_columns expected positive numbers. Received: {received}.")
        for index in logs:
            np.log(values[index], out=values[index], where=values[index] > 0)


def _column(name: str, log: bool, moments: Moments, vocabulary: Vocabulary | None) -> Column:
    require(moments.count > 0, f"{name} expected a value in some training row", "empty fields only")
    if vocabulary is None:
        return Column(name, log, moments.count, moments.mean, moments.std, moments.min, moments.max)
    categories = vocabulary.categories()
    return Column(name, log, moments.count, 0.0, 1.0, 0.0, float(len(categories)), categories)


def _say_drift(drift: Drift, rows: int, target: Column) -> str:
    found = drift.worst(rows, target.mean, target.std)
    if found is None:
        return ""
    first, last, mean = found
    name = f"log({target.name})" if target.log else target.name
    there = f"its mean is {mean:,.4g} in rows {first:,} to {last:,}"
    return f"{name} drifts along the rows: {there}, and {target.mean:,.4g} in all"


def held_out(first_row: int, count: int, fraction: float, seed: int) -> np.ndarray:
    """Say for `count` rows of a source, from `first_row` on, whether they are held out.

    A row's place depends on its number and `seed` alone: it is held out where a 64-bit hash of both (the finalizer of
    SplitMix64, Steele, Lea and Flood, 2014) falls into the lowest `fraction` of its range.

    Returns:
        bool `[count]`.
    """
    if fraction == 0:
        return np.zeros(count, bool)
    with np.errstate(over="ignore"):
        z = np.arange(first_row, first_row + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed % 2**64) * np.uint64(0xD1342543DE82EF95) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return z < np.uint64(int(fraction * 2**64))
