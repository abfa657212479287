"""Describes what to read from a source, and the chunks that it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from harness.config import DataConfig
from harness.config.dialect import Dialect

BLOCK_BYTES = 8 << 20
"""Bytes parsed at once: enough to amortize the cost of a call, few enough for three such blocks in memory."""

MILLISECONDS_A_DAY = 86_400_000

Locate = Callable[[int], str]
"""Returns the file and line of a row of a chunk, for messages."""


class Words(NamedTuple):
    """A column of text: `values` holds each word once; `codes`, int64 `[rows]`, index into it, with -1 for empty."""

    codes: np.ndarray
    values: list[str]


@dataclass(frozen=True)
class Selection:
    """What to read from a source, and the format of its text; see `DataConfig` for the fields.

    Attributes:
        targets: The columns to predict, for messages.
        dates: The `strptime` format of each column of dates; None means ISO 8601.
        block_bytes: Bytes of text parsed at once. Results do not depend on it.
    """

    columns: tuple[str, ...]
    categorical: frozenset[str] = frozenset()
    dates: Mapping[str, str | None] = field(default_factory=dict)
    dialect: Dialect = field(default_factory=Dialect)
    block_bytes: int = BLOCK_BYTES
    targets: frozenset[str] = frozenset()

    @classmethod
    def of(cls, data: DataConfig, block_bytes: int = BLOCK_BYTES) -> Selection:
        """Select the columns that `data` names."""
        texts, targets = frozenset(data.categorical), frozenset(data.targets)
        return cls(tuple(data.columns), texts, data.date_formats, data, block_bytes, targets)

    def is_text(self, name: str) -> bool:
        """Return True if a column is not read as numbers."""
        return name in self.categorical or name in self.dates


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a source.

    Attributes:
        columns: One entry per selected column: float64 `[rows]`, NaN where a field is empty, or `Words` if the column
            is categorical.
        locate: Returns the file and line of a row of the chunk, for messages.
        position: Bytes of the file read so far.
        booleans: Columns of numbers in which words such as `true` stand for 1 and 0, with the first such row.
    """

    columns: list[np.ndarray | Words]
    locate: Locate
    position: int
    booleans: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows."""
        first = self.columns[0]
        return len(first.codes if isinstance(first, Words) else first)
