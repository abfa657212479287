"""Writes the training and holdout rows of a table page by page, computing statistics on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from harness.config import DataConfig, Order
from harness.data.shuffle import PAGE_ROWS, Shuffle
from harness.data.statistics import Column, Moments
from harness.data.vocabulary import Vocabulary

Part = Literal["train", "holdout"]
PARTS: tuple[Part, Part] = ("train", "holdout")


def column_path(folder: Path, part: Part, index: int) -> Path:
    """Return the file of one column of one part."""
    return folder / f"{part}.{index}.f32"


def digest_file(path: Path) -> str:
    """Return the digest of a column's file, the same as computed while it was written."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class PartWriter:
    """Writes one part of a table and computes its statistics.

    Pages hold rows of this part only, so that statistics do not depend on how a source is read.
    """

    def __init__(self, folder: Path, part: Part, data: DataConfig, vocabularies: Mapping[str, Vocabulary]) -> None:
        self.rows = 0
        self.moments = [Moments() for _ in data.columns]
        self._vocabularies = [vocabularies.get(name) for name in data.columns]
        self._is_trained = part == "train"
        self._page = np.empty((len(data.columns), PAGE_ROWS))
        self._filled = 0
        self._files = [_File(column_path(folder, part, index)) for index in range(len(data.columns))]
        shuffled = self._is_trained and data.order is Order.shuffled
        self._shuffle = Shuffle(folder / "shuffle", len(data.columns), data.split_seed) if shuffled else None

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    def add(self, values: np.ndarray, selected: np.ndarray) -> None:
        """Add the rows of `values`, float64 `[columns, rows]`, that are `selected`, bool `[rows]`."""
        chosen = np.flatnonzero(selected)
        self.rows += len(chosen)
        while len(chosen):
            some, chosen = np.split(chosen, [PAGE_ROWS - self._filled])
            end = self._filled + len(some)
            for page, column in zip(self._page, values, strict=True):
                np.take(column, some, out=page[self._filled : end])
            self._filled = end
            if end == PAGE_ROWS:
                self.flush()

    def flush(self) -> None:
        """Write the rows of the current page, and add them to the statistics."""
        page, self._filled = self._page[:, : self._filled], 0
        if self._is_trained:
            for moments, vocabulary, values in zip(self.moments, self._vocabularies, page, strict=True):
                moments.add(values)
                if vocabulary:
                    vocabulary.mark_trained(values)
        rounded = page.astype(np.float32)
        if self._shuffle:
            self._shuffle.add(rounded)
        else:
            self._write(rounded)

    def finish(self, columns: Sequence[Column], filled: bool) -> list[str]:
        """Shuffle rows if requested, finalize the values, and return a digest for each column.

        If fields were `filled`, empty ones become the column's mean; preliminary category codes become final.
        """
        for rows in self._shuffle.rows() if self._shuffle else ():
            self._write(rows)
        for file, column, vocabulary in zip(self._files, columns, self._vocabularies, strict=True):
            if change := _change(column, vocabulary, filled):
                file.rewrite(change)
        return [file.finish() for file in self._files]

    def _write(self, rows: Iterable[np.ndarray]) -> None:
        for file, values in zip(self._files, rows, strict=True):
            file.append(values)


def _change(column: Column, vocabulary: Vocabulary | None, filled: bool) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the function that finalizes a column's values, if any is needed."""
    if vocabulary:
        # An empty field counts as an unknown category.
        codes = np.append(vocabulary.final_codes(), np.float32(0))
        return lambda values: codes[np.where(np.isnan(values), -1, values).astype(np.int64)]
    if filled:
        return lambda values: np.where(np.isnan(values), np.float32(column.mean), values)
    return None


class _File:
    """The file of one column of one part, hashed as it is written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._hasher = hashlib.blake2b(digest_size=16)

    def append(self, values: np.ndarray) -> None:
        """Append float32 `[rows]`."""
        values = np.ascontiguousarray(values)
        self._file.write(values.data)
        self._hasher.update(values.data)

    def rewrite(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Replace all values written so far, page by page."""
        self._hasher = hashlib.blake2b(digest_size=16)
        self._file.seek(0)
        while len(values := np.frombuffer(self._file.read(4 * PAGE_ROWS), np.float32)):
            self._file.seek(-values.nbytes, os.SEEK_CUR)
            self.append(change(values))

    def finish(self) -> str:
        """Sync the file to disk; return its digest."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._hasher.hexdigest()

    def close(self) -> None:
        self._file.close()
