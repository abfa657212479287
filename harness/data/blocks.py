"""A table's rows as blocks of scaled features and targets: what a scan reads, pass after pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.config import Order, Scaling
from harness.data.shuffle import PAGE_ROWS, page_order
from harness.data.statistics import Column
from harness.data.table import Table
from harness.data.table_writer import Part
from harness.runtime.prefetch import prefetch

SLICE_ROWS = 1024
"""Rows of the longest sum taken in one piece. A longer chunk, and the holdout, are summed slice by slice."""

BLOCK_BYTES = 4 << 20

CACHED_ROWS = 4096
"""Rows that are scaled at a time, so that float64 stays in a core's cache."""


@dataclass(frozen=True)
class Scaler:
    """What scaling does to the columns of a table: `trained = (value - mean) / std`.

    Attributes:
        mean: float64 `[columns]`, features first, target last.
        std: Likewise; 1 for a column that does not vary.
        log_target: Whether the target's values are logarithms.
    """

    mean: np.ndarray
    std: np.ndarray
    log_target: bool

    @classmethod
    def of(cls, table: Table, scaling: Scaling, *, scale_target: bool = True) -> Scaler:
        """Make the scaler of a table; labels, for one, are no targets to scale."""
        mean, std = np.zeros(len(table.columns)), np.ones(len(table.columns))
        if scaling is Scaling.standard:
            scaled = slice(None) if scale_target else slice(-1)
            mean[scaled] = [column.mean for column in table.columns][scaled]
            std[scaled] = [column.std if _varies(column) else 1.0 for column in table.columns][scaled]
        return cls(mean, std, table.columns[-1].log)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale float32 `[columns, rows]`; the arithmetic is in float64."""
        if not self.mean.any() and (self.std == 1).all():
            return values
        scaled = np.empty(values.shape, np.float32)
        mean, std = self.mean[:, None], self.std[:, None]
        wide = np.empty((len(values), CACHED_ROWS))
        for start in range(0, values.shape[1], CACHED_ROWS):
            some = values[:, start : start + CACHED_ROWS]
            part = wide[:, : some.shape[1]]
            np.subtract(some, mean, out=part)
            np.divide(part, std, out=part)
            scaled[:, start : start + CACHED_ROWS] = part
        return scaled

    def coefficients(self, kernel: np.ndarray, bias: float, inputs: Sequence[int] = (1,)) -> tuple[float, np.ndarray]:
        """Return intercept and slopes for unscaled columns of a linear model of scaled ones.

        Args:
            kernel: `[inputs]`.
            bias: Of the scaled target.
            inputs: How many of them each feature has become; one, unless it is categorical.
        """
        mean, std = (np.repeat(values[:-1], inputs) for values in (self.mean, self.std))
        slopes = np.asarray(kernel, np.float64) * self.std[-1] / std
        intercept = self.mean[-1] + self.std[-1] * float(bias) - float(slopes @ mean)
        return intercept, slopes


def _varies(column: Column) -> bool:
    """Say whether `column` is of numbers that float32 tells apart; rounding alone can leave a deviation of 1e-17."""
    return not column.categories and bool(np.float32(column.min) < np.float32(column.max))


@dataclass(frozen=True)
class Block:
    """Rows `[start, stop)` of a part.

    Attributes:
        start: The first row.
        stop: The row after the last one.
        x: float32 `[capacity, features]`; row `start` is at `overlap`, and before it stand the `overlap` rows that
            precede it, so that what began in the block before can end here. Rows past `stop` are zero.
        y: float32 `[capacity, 1]`, likewise.
    """

    start: int
    stop: int
    x: np.ndarray
    y: np.ndarray


class Blocks:
    """One part of a table as blocks of one shape; a pass reads all rows, in file order unless they are shuffled."""

    def __init__(
        self, table: Table, part: Part, scaler: Scaler, *, block_rows: int | None = None, overlap: int = 0
    ) -> None:
        """Prepare passes.

        Args:
            table: Whose rows.
            part: Which of them.
            scaler: Applied to each block.
            block_rows: Rows of a block, rounded up to whole slices; None means as many as fit in 4 MiB.
            overlap: Rows of the block before that are repeated in front.
        """
        self.rows = table.rows(part)
        self.features = len(table.columns) - 1
        self.category_counts = tuple(column.inputs if column.categories else 0 for column in table.columns[:-1])
        self.overlap = overlap
        self.scaler = scaler
        wanted = min(block_rows or BLOCK_BYTES // (4 * len(table.columns)), self.rows)
        self.block_rows = -(-wanted // SLICE_ROWS) * SLICE_ROWS
        self._table = table
        self._part: Part = part
        self.turns = part == "train" and table.order is Order.shuffled and self.rows > PAGE_ROWS

    @property
    def capacity(self) -> int:
        """Rows of a block's arrays."""
        return self.overlap + self.block_rows

    @property
    def bytes(self) -> int:
        """Bytes of a block's arrays."""
        return self.capacity * (self.features + 1) * 4

    def read(self, epoch: int, begin: int = 0) -> Iterator[Block]:
        """Read the part once from row `begin`, one block ahead.

        Args:
            epoch: From 1; of shuffled rows it says which pages come when.
            begin: The first row; 0, or where a block has ended in this epoch.
        """
        if begin >= self.rows:
            return
        if self.rows > self.block_rows:
            with contextlib.closing(prefetch(self._read(epoch, begin))) as blocks:
                yield from blocks
        else:
            yield from self._read(epoch, begin)

    def _read(self, epoch: int, begin: int) -> Iterator[Block]:
        pages = _Pages(self.rows, page_order(self.rows, self._table.split_seed, epoch)) if self.turns else None
        before: Block | None = None
        for start in range(begin, self.rows, self.block_rows):
            stop = min(start + self.block_rows, self.rows)
            x = np.zeros((self.capacity, self.features), np.float32)
            y = np.zeros((self.capacity, 1), np.float32)
            if before:
                x[: self.overlap], y[: self.overlap] = before.x[self.block_rows :], before.y[self.block_rows :]
            first_row = start if before else max(start - self.overlap, 0)
            place = self.overlap - (start - first_row)
            for first, last in pages.pieces(first_row, stop) if pages else _pieces(first_row, stop):
                # Page by page, so that float64 is used for one page at a time.
                values = self.scaler.apply(self._table.read(self._part, first, last))
                end = place + last - first
                x[place:end], y[place:end, 0] = values[:-1].T, values[-1]
                place = end
            before = Block(start, stop, x, y)
            yield before


def _pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut rows `[start, stop)` into pieces of at most a page."""
    for first in range(start, stop, PAGE_ROWS):
        yield first, min(first + PAGE_ROWS, stop)


class _Pages:
    """The pages of a part in the order of one pass."""

    def __init__(self, rows: int, order: np.ndarray) -> None:
        self._starts = order * PAGE_ROWS
        # Where each page ends in the pass; the last one of the part is shorter.
        self._ends = np.cumsum(np.minimum(rows - self._starts, PAGE_ROWS))

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield where rows `[start, stop)` of the pass lie in the part, page by page."""
        index = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            begin = int(self._ends[index - 1]) if index else 0
            end = min(int(self._ends[index]), stop)
            offset = int(self._starts[index]) - begin
            yield offset + start, offset + end
            start, index = end, index + 1
