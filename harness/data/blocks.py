"""A table's rows as blocks of features and targets, read once per epoch; numbers are scaled, but pixels are not."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.config import Order
from harness.data.scaler import Scaler
from harness.data.shuffle import page_order, row_order
from harness.data.tables.pages import Part
from harness.data.tables.table import Table
from harness.runtime.prefetch import prefetch

SLICE_ROWS = 1024
"""Rows per slice; longer chunks and the holdout are summed slice by slice. Slices of images may be shorter."""

BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Block:
    """Rows `[start, stop)` of one part of a table.

    Attributes:
        x: float32 `[capacity, features]` or, if the only feature has a shape, its stored values `[capacity, *shape]`.
            The first `overlap` rows repeat those before `start`, so that a chunk that began in the previous block can
            be completed here. Rows past `stop` are zero.
        y: float32 `[capacity, targets]`, with the same rows; class indices are exact. Weights, if there are any, are an
            additional last column, with a mean of 1 over the training rows.
    """

    start: int
    stop: int
    x: np.ndarray
    y: np.ndarray


class Blocks:
    """One part of a table, in blocks of equal shape.

    Attributes:
        block_rows: Rows per block, a multiple of the rows of a slice.
        overlap: Number of rows of the previous block that are repeated at the start.
        shape: Shape of a row's features if the only feature has one; empty if they are numbers.
        turns: Whether the order of pages changes with the epoch.
    """

    def __init__(
        self,
        table: Table,
        part: Part,
        scaler: Scaler,
        *,
        block_rows: int | None = None,
        overlap: int = 0,
        seed: int = 0,
        slice_rows: int = SLICE_ROWS,
    ) -> None:
        """Prepare to read the part; by default, blocks have as many rows as fit into 4 MiB, but at least one slice.

        The order of shuffled training rows depends on `seed`.
        """
        self.rows = table.rows(part)
        self.features, self.targets = len(table.features), len(table.targets) + len(table.weights)
        self.category_counts = tuple(column.inputs if column.categories else 0 for column in table.features)
        self.overlap = overlap
        self.scaler = scaler
        self.shape = table.features[0].shape
        self._row_bytes = sum(column.value_bytes if column.shape else 4 for column in table.columns)
        wanted = min(block_rows or max(BLOCK_BYTES // self._row_bytes, 1), self.rows)
        self.block_rows = -(-wanted // slice_rows) * slice_rows
        self._wanted = block_rows
        self._table = table
        self._part: Part = part
        is_shuffled = part == "train" and table.order is Order.shuffled
        self._seed = seed if is_shuffled else 0
        self.turns = is_shuffled and table.pages(part) > 1

    @property
    def capacity(self) -> int:
        """Number of rows in a block's arrays."""
        return self.overlap + self.block_rows

    @property
    def bytes(self) -> int:
        """Size of a block's arrays in bytes."""
        return self.capacity * self._row_bytes

    def cut(self, slice_rows: int, overlap: int) -> Blocks:
        """Return blocks of the same part with other slices and another overlap."""
        return Blocks(
            self._table,
            self._part,
            self.scaler,
            block_rows=self._wanted,
            overlap=overlap,
            slice_rows=slice_rows,
            seed=self._seed,
        )

    def empty(self) -> Block:
        """Return a block without rows."""
        kind = self._table.features[0].file_type if self.shape else np.float32
        x = np.zeros((self.capacity, *(self.shape or (self.features,))), kind)
        return Block(0, 0, x, np.zeros((self.capacity, self.targets), np.float32))

    def read(self, epoch: int, begin: int = 0) -> Iterator[Block]:
        """Read the part once from row `begin`, the start of a block, prefetching one block; epochs count from 1."""
        if begin >= self.rows:
            return
        blocks = self._read(epoch, begin)
        if self.rows > self.block_rows:
            blocks = prefetch(blocks)
        with contextlib.closing(blocks):
            yield from blocks

    def _read(self, epoch: int, begin: int) -> Generator[Block]:
        table, count = self._table, self._table.pages(self._part)
        order = page_order(count, table.split_seed, epoch, self._seed) if self.turns else np.arange(count)
        pages = _Pages(table, self._part, order, self._seed)
        before: Block | None = None
        for start in range(begin, self.rows, self.block_rows):
            stop = min(start + self.block_rows, self.rows)
            empty = self.empty()
            x, y = empty.x, empty.y
            if before:
                x[: self.overlap], y[: self.overlap] = before.x[self.block_rows :], before.y[self.block_rows :]
            first_row = start if before else max(start - self.overlap, 0)
            row = self.overlap - (start - first_row)
            for columns in pages.read(first_row, stop):
                end = row + len(columns[0])
                for index, values in enumerate(columns):
                    if index == 0 and self.shape:
                        x[row:end] = values
                        continue
                    out = x[:, index] if index < self.features else y[:, index - self.features]
                    self.scaler.scale(index, values, out[row:end])
                row = end
            before = Block(start, stop, x, y)
            yield before


class _Pages:
    """The rows of a part in the order of one pass: pages in the given order, and their rows permuted by `seed`."""

    def __init__(self, table: Table, part: Part, order: np.ndarray, seed: int) -> None:
        self._table, self._rows, self._seed = table, table.rows(part), seed
        self._reader = table.reader(part)
        self._starts = order * table.page_rows
        # The row of the pass at which each page ends; the last page of the part is shorter.
        self._ends = np.cumsum(np.minimum(self._rows - self._starts, table.page_rows))
        self._order = (-1, np.arange(0))  # A page, and the order of its rows.

    def read(self, start: int, stop: int) -> Iterator[Sequence[np.ndarray]]:
        """Yield rows `[start, stop)` of the pass, page by page: for each column, its stored values."""
        index = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            begin = int(self._ends[index - 1]) if index else 0
            end = min(int(self._ends[index]), stop)
            offset = int(self._starts[index]) - begin
            yield self._permuted(offset + start, offset + end)
            start, index = end, index + 1

    def _permuted(self, first: int, last: int) -> Sequence[np.ndarray]:
        """Return rows `[first, last)` of a page for each column, after permuting the rows of the page."""
        if not self._seed:
            return self._reader.read(first, last)
        page, size = first // self._table.page_rows, self._table.page_rows
        start, stop = page * size, min((page + 1) * size, self._rows)
        if self._order[0] != page:
            self._order = page, row_order(stop - start, self._table.split_seed, page, self._seed)
        chosen = self._order[1][first - start : last - start]
        return [values[chosen] for values in self._reader.read(start, stop)]
