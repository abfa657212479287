"""`Source`: the interface between file formats and tables.

To add a format, write a subclass in its own module and add it to `harness.data.formats.FORMATS`.
"""

from __future__ import annotations

import contextlib
import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import ClassVar

import numpy as np

from harness.data.selection import Chunk, Selection
from harness.data.storage.files import File
from harness.errors import ConfigError, require
from harness.formatting import listed

FLOAT32_MAX = np.finfo(np.float32).max


class Source(ABC):
    """The rows of one local or remote file; each format has a subclass.

    Attributes:
        keys: The keys of `Dialect` that apply to the format.
    """

    keys: ClassVar[frozenset[str]] = frozenset({"na_values"})

    def __init__(self, file: File, selection: Selection) -> None:
        self.file = file
        self.selection = selection

    @classmethod
    @abstractmethod
    def recognizes(cls, address: str, start: bytes) -> bool:
        """Return True if a file is in this format, judging by its address and first bytes (unknown for a stream)."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all columns in the file."""

    def doubt(self) -> str:
        """Return a warning if the file may be misread; empty by default."""
        return ""

    @abstractmethod
    def read(self) -> Generator[Chunk]:
        """Read the selected columns from start to end, in constant memory.

        Raises:
            ConfigError: A column is missing, or a row is invalid.
        """

    def chunks(self, booleans: Booleans | None = None) -> Generator[Chunk]:
        """Like `read`, but reject numbers that float32 cannot represent, or that are mixed with words such as true.

        Files that are read as one table share `booleans`.
        """
        booleans = booleans or Booleans()
        with contextlib.closing(self.read()) as chunks:
            for chunk in chunks:
                for name, values in zip(self.selection.columns, chunk.columns, strict=True):
                    if isinstance(values, np.ndarray):
                        _check_range(name, values, chunk.locate)
                        booleans.check(name, values, chunk)
                yield chunk


def check_names(address: str, names: Sequence[str], columns: Sequence[str]) -> None:
    """Check that all `columns` are among the `names` in a file.

    Raises:
        ConfigError: Columns are missing; the message ends with similar names, or the names in the file.
    """
    missing = [name for name in columns if name not in names]
    if not missing:
        twice = sorted({name for name in columns if names.count(name) > 1})
        require(
            not twice,
            f"{address}, line 1: duplicate column names {', '.join(twice)}. Make the names unique, or set data.names.",
        )
        return
    alike = {name.casefold(): name for name in names}
    close = [alike[name] for name in difflib.get_close_matches(missing[0].casefold(), alike, n=3, cutoff=0.6)]
    hint = f"Did you mean {' or '.join(close)}?" if close else f"It has: {listed(names, 30)}."
    raise ConfigError(f"{address} has no column {', '.join(missing)}. {hint}")


def _check_range(name: str, values: np.ndarray, locate: Callable[[int], str]) -> None:
    if not len(values) or (values.min() >= -FLOAT32_MAX and values.max() <= FLOAT32_MAX):
        return
    too_large = np.abs(values) > FLOAT32_MAX
    if too_large.any():
        row = int(too_large.argmax())
        raise ConfigError(f"{locate(row)}: {name} is {values[row]:g}, which float32 cannot represent.")


class Booleans:
    """Checks that columns in which words stand for 1 and 0 have no other numbers, in this chunk or in others."""

    def __init__(self) -> None:
        self._with_numbers: set[str] = set()
        self._with_words: set[str] = set()

    def check(self, name: str, values: np.ndarray, chunk: Chunk) -> None:
        """Check a chunk's values of a column."""
        word = chunk.booleans.get(name)
        if name not in self._with_words and word is None:
            if name not in self._with_numbers and _other_than_0_and_1(values).any():
                self._with_numbers.add(name)
            return
        others = _other_than_0_and_1(values)
        if name in self._with_numbers or others.any():
            # The first row at which this shows, however rows are divided into chunks.
            rows = [] if name in self._with_numbers or not others.any() else [int(others.argmax())]
            rows += [] if name in self._with_words or word is None else [word]
            row = max(rows)
            raise ConfigError(f"{chunk.locate(row)}: {name} has both numbers and words such as true or yes.")
        self._with_words.add(name)


def _other_than_0_and_1(values: np.ndarray) -> np.ndarray:
    return (values != 0) & (values != 1) & ~np.isnan(values)
