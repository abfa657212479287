"""A table's rows as blocks of scaled features and targets: what a scan reads, pass after pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.config import Scaling
from harness.readers import prefetch
from harness.statistics import Column
from harness.table import Part, Table

SLICE_ROWS = 1024
"""Rows of the longest sum taken in one piece. A longer chunk, and the holdout, are summed slice by slice."""

BLOCK_BYTES = 8 << 20


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
        return ((values - self.mean[:, None]) / self.std[:, None]).astype(np.float32)

    def coefficients(self, kernel: np.ndarray, bias: float) -> tuple[float, np.ndarray]:
        """Return intercept and slopes for unscaled columns of a linear model of scaled ones.

        Args:
            kernel: `[features]`.
            bias: Of the scaled target.
        """
        slopes = np.asarray(kernel, np.float64) * self.std[-1] / self.std[:-1]
        intercept = self.mean[-1] + self.std[-1] * float(bias) - float(slopes @ self.mean[:-1])
        return intercept, slopes


def _varies(column: Column) -> bool:
    """Say whether float32 tells values of `column` apart; rounding alone can leave a deviation of 1e-17."""
    return bool(np.float32(column.min) < np.float32(column.max))


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
    """One part of a table as blocks of one shape; each iteration is a pass over all rows in file order."""

    def __init__(
        self, table: Table, part: Part, scaler: Scaler, *, block_rows: int | None = None, overlap: int = 0
    ) -> None:
        """Prepare passes.

        Args:
            table: Whose rows.
            part: Which of them.
            scaler: Applied to each block.
            block_rows: Rows of a block, rounded up to whole slices; None means as many as fit in 8 MiB.
            overlap: Rows of the block before that are repeated in front.
        """
        self.rows = table.rows(part)
        self.features = len(table.columns) - 1
        self.overlap = overlap
        self.scaler = scaler
        wanted = min(block_rows or BLOCK_BYTES // (4 * len(table.columns)), self.rows)
        self.block_rows = -(-wanted // SLICE_ROWS) * SLICE_ROWS
        self._table = table
        self._part: Part = part
        self._only_block: Block | None = None

    @property
    def capacity(self) -> int:
        """Rows of a block's arrays."""
        return self.overlap + self.block_rows

    @property
    def bytes(self) -> int:
        """Bytes of a block's arrays."""
        return self.capacity * (self.features + 1) * 4

    def __iter__(self) -> Iterator[Block]:
        """Read the part once, one block ahead; a part of one block is read on the first pass only."""
        if self.rows > self.block_rows:
            with contextlib.closing(prefetch(self._read())) as blocks:
                yield from blocks
        elif self.rows:
            self._only_block = self._only_block or next(self._read())
            yield self._only_block

    def _read(self) -> Iterator[Block]:
        previous = np.zeros((self.features + 1, self.overlap), np.float32)
        for start in range(0, self.rows, self.block_rows):
            stop = min(start + self.block_rows, self.rows)
            values = np.zeros((self.features + 1, self.capacity), np.float32)
            values[:, : self.overlap] = previous
            values[:, self.overlap : self.overlap + stop - start] = self.scaler.apply(
                self._table.read(self._part, start, stop)
            )
            previous = values[:, self.capacity - self.overlap :]
            yield Block(start, stop, np.ascontiguousarray(values[:-1].T), values[-1][:, None])
