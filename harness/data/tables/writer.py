"""Writes the training and holdout rows of a table page by page, computing statistics along the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.config import DataConfig, Order
from harness.data.precision import Offsets, rounding_error
from harness.data.shuffle import Shuffle
from harness.data.statistics import Column, Moments
from harness.data.tables.pages import ColumnWriter, Part, column_path, in_pages
from harness.data.vocabulary import Vocabulary


class PartWriter:
    """Writes one part of a table and computes its statistics.

    Pages hold only rows of this part, so statistics do not depend on how a source is read.

    Attributes:
        rows: Rows added so far.
        moments: For each column, the statistics over the pages so far.
        rounding: For each column, the largest rounding error that may matter.
    """

    def __init__(
        self,
        folder: Path,
        part: Part,
        data: DataConfig,
        columns: Sequence[Column],
        page_rows: int,
        vocabularies: Mapping[str, Vocabulary],
        offsets: Offsets,
    ) -> None:
        self.rows = 0
        self.moments = [Moments() for _ in columns]
        self.rounding = [0.0 for _ in columns]
        self._vocabularies = [vocabularies.get(column.name) for column in columns]
        self._offsets = offsets
        self._is_trained = part == "train"
        self._page = np.empty((len(columns), page_rows))
        self._filled = 0
        self._files = [
            ColumnWriter(column_path(folder, part, index), column, page_rows) for index, column in enumerate(columns)
        ]
        shuffled = self._is_trained and data.order is Order.shuffled
        self._shuffle = Shuffle(folder / "shuffle", len(columns), data.split_seed) if shuffled else None

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    def add(self, values: np.ndarray, selected: np.ndarray) -> None:
        """Add the rows of `values`, float64 `[columns, rows]`, that are `selected`, bool `[rows]`."""
        chosen = np.flatnonzero(selected)
        self.rows += len(chosen)
        page_rows = self._page.shape[1]
        while len(chosen):
            some, chosen = np.split(chosen, [page_rows - self._filled])
            end = self._filled + len(some)
            for page, column in zip(self._page, values, strict=True):
                np.take(column, some, out=page[self._filled : end])
            self._filled = end
            if end == page_rows:
                self.flush()

    def flush(self) -> None:
        """Write the rows of the current page, and add them to the statistics."""
        page, self._filled = self._page[:, : self._filled], 0
        offsets = self._offsets.values()
        stored = (page - offsets[:, None] if offsets.any() else page).astype(np.float32)
        if self._is_trained:
            for index, values in enumerate(page):
                self._measure(index, values, stored[index], float(offsets[index]))
        if not stored.size:
            return
        if self._shuffle:
            self._shuffle.add(stored)
        else:
            self._write(stored)

    def finish(self, columns: Sequence[Column], filled: bool) -> bytes:
        """Shuffle rows if requested, finalize the values, and return the checksums of all pages, column by column.

        If fields were `filled`, empty ones become the column's mean; preliminary category codes become final.
        """
        if self._shuffle:
            for page in in_pages(self._shuffle.rows(), self._page.shape[1]):
                self._write(page)
        for file, column, vocabulary in zip(self._files, columns, self._vocabularies, strict=True):
            if change := _change(column, vocabulary, filled):
                file.rewrite(change)
            file.finish()
        return b"".join(file.sums for file in self._files)

    def _measure(self, index: int, values: np.ndarray, stored: np.ndarray, offset: float) -> None:
        """Add a page's values of a column to its statistics."""
        moments = self.moments[index]
        moments.add(values)
        if vocabulary := self._vocabularies[index]:
            vocabulary.mark_trained(values)
        elif moments.count:
            self.rounding[index] = max(self.rounding[index], rounding_error(values, stored, offset, moments))

    def _write(self, page: np.ndarray) -> None:
        for file, values in zip(self._files, page, strict=True):
            file.append(values)


def _change(column: Column, vocabulary: Vocabulary | None, filled: bool) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the function that finalizes a column's stored values, if any is needed."""
    if vocabulary:
        # An empty field counts as an unknown category.
        codes = np.append(vocabulary.final_codes(), np.float32(0))
        return lambda values: codes[np.where(np.isnan(values), -1, values).astype(np.int64)]
    if filled:
        return lambda values: np.where(np.isnan(values), np.float32(column.mean - column.offset), values)
    return None
