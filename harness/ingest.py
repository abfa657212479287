"""One pass over a source: its rows are checked, split, measured and written as float32 columns."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from harness.config import ConfigError, DataConfig, Missing, require
from harness.readers import prefetch, read_chunks
from harness.statistics import Column, Statistics

FILL_ROWS = 1 << 20
Part = Literal["train", "holdout"]
PARTS: tuple[Part, Part] = ("train", "holdout")
Progress = Callable[[str, int], None]
"""Takes what is being done and the rows done so far."""


@dataclass(frozen=True)
class Ingested:
    """What one pass found; `harness.table.Table` says what the fields mean."""

    columns: list[Column]
    train_rows: int
    holdout_rows: int
    dropped: int
    filled: int
    digest: str


def ingest(source: Path, data: DataConfig, folder: Path, progress: Progress) -> Ingested:
    """Write the columns of `source` that `data` names into `folder`.

    Raises:
        ConfigError: A row, or all of them, cannot be used.
    """
    names = data.columns
    logs = np.array([name in data.log_columns for name in names])
    statistics = Statistics(len(names))
    rows = dict.fromkeys(PARTS, 0)
    seen = dropped = filled = 0
    with contextlib.ExitStack() as stack:
        writers = {part: stack.enter_context(_Writer(folder, part, len(names))) for part in PARTS}
        chunks = stack.enter_context(contextlib.closing(prefetch(read_chunks(source, names))))
        for chunk in chunks:
            first_row, seen = seen, seen + len(chunk)
            out = held_out(first_row, len(chunk), data.holdout, data.split_seed)
            empty = np.isnan(chunk)
            if empty.any():
                keep = _settle_empty(empty, data, first_row)
                dropped += int((~keep).sum())
                filled += int(empty[keep].sum())
            else:
                keep = np.ones(len(chunk), bool)
            if logs.any():
                _take_logs(chunk, keep, logs, names, first_row)
            statistics.add(chunk[keep & ~out])
            values = chunk.astype(np.float32)
            for part, selected in zip(PARTS, (keep & ~out, keep & out), strict=True):
                writers[part].append(values[selected])
                rows[part] += int(selected.sum())
            progress("reading", seen)
    require(seen > 0, "data.path expected rows below the header", f"none in {source}")
    require(
        rows["train"] > 0, "the split expected a training row", f"{seen} rows, {dropped} dropped, the rest held out"
    )
    columns = statistics.columns(names, logs)
    digests = [digest for part in PARTS for digest in writers[part].digests()]
    if filled:
        digests = _fill(folder, columns)
    digest = hashlib.blake2b(json.dumps([names, logs.tolist(), digests]).encode(), digest_size=16).hexdigest()
    return Ingested(columns, rows["train"], rows["holdout"], dropped, filled, digest)


def _settle_empty(empty: np.ndarray, data: DataConfig, first_row: int) -> np.ndarray:
    """Return which rows are kept, bool `[rows]`; refuse what `data.missing` does not allow."""
    if data.missing is Missing.drop:
        return np.logical_not(empty.any(axis=1))
    refused = empty if data.missing is Missing.error else empty[:, -1:]
    if refused.any():
        row, column = np.argwhere(refused)[0]
        name = data.columns[column] if data.missing is Missing.error else data.target
        raise ConfigError(
            f"{name} expected a number in every row. Received: an empty field in row {first_row + row + 1}. "
            + ("Use data.missing=drop." if name == data.target else "Use data.missing=drop or data.missing=mean.")
        )
    return np.ones(len(empty), bool)


def _take_logs(chunk: np.ndarray, keep: np.ndarray, logs: np.ndarray, names: Sequence[str], first_row: int) -> None:
    """Replace the columns `logs` by their logarithms, in place."""
    refused = keep[:, None] & logs & (chunk <= 0)
    if refused.any():
        row, column = np.argwhere(refused)[0]
        raise ConfigError(
            f"data.log_columns expected positive numbers. Received: {chunk[row, column]:g} "
            f"for {names[column]} in row {first_row + row + 1}."
        )
    chunk[:, logs] = np.log(chunk[:, logs], where=chunk[:, logs] > 0, out=chunk[:, logs])


def _fill(folder: Path, columns: Sequence[Column]) -> list[str]:
    """Replace NaN by the column's training mean in all files; return the new digests, in the writers' order."""
    digests = []
    for part in PARTS:
        for index, column in enumerate(columns):
            hasher = hashlib.blake2b(digest_size=16)
            path = column_path(folder, part, index)
            with path.open("r+b") as file:
                while len(values := np.fromfile(file, np.float32, FILL_ROWS)):
                    values[np.isnan(values)] = column.mean
                    file.seek(-values.nbytes, os.SEEK_CUR)
                    file.write(values.data)
                    hasher.update(values.data)
            digests.append(hasher.hexdigest())
    return digests


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


def column_path(folder: Path, part: Part, index: int) -> Path:
    """Return the file of one column of one part."""
    return folder / f"{part}.{index}.f32"


class _Writer:
    """The files of one part, written and hashed in step."""

    def __init__(self, folder: Path, part: Part, columns: int) -> None:
        self._files = [column_path(folder, part, index).open("wb") for index in range(columns)]
        self._hashers = [hashlib.blake2b(digest_size=16) for _ in range(columns)]

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    def append(self, values: np.ndarray) -> None:
        """Add rows, float32 `[rows, columns]`."""
        for file, hasher, column in zip(self._files, self._hashers, np.ascontiguousarray(values.T), strict=True):
            file.write(column)
            hasher.update(column.data)

    def digests(self) -> list[str]:
        """Return a digest a column, of what was added so far."""
        return [hasher.hexdigest() for hasher in self._hashers]
