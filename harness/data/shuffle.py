"""Shuffles training rows: individually while a table is written, and page by page in each epoch.

Both use bounded memory. Rows are dealt to files (decks) at random, and each file, small enough for memory, is permuted,
which makes all orders equally likely. In each epoch only whole pages are permuted, so that reading stays sequential.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

DECKS = 256
DECK_BYTES = 16 << 20
"""Maximum bytes of rows permuted at once; a longer deck is dealt again."""


class Shuffle:
    """Takes rows and returns them in an order that depends on `seed` alone."""

    def __init__(self, folder: Path, columns: int, seed: int, deck_bytes: int = DECK_BYTES) -> None:
        """Open the decks, which are files in a new folder."""
        self._folder, self._columns, self._deck_bytes = folder, columns, deck_bytes
        self._random = _generator(seed)
        folder.mkdir()
        self._decks = [(folder / str(deck)).open("w+b", buffering=1 << 15) for deck in range(DECKS)]

    def add(self, values: np.ndarray) -> None:
        """Add rows, float32 `[columns, rows]`."""
        decks = self._random.integers(DECKS, size=values.shape[1], dtype=np.uint16)
        order = np.argsort(decks, kind="stable")
        rows = np.ascontiguousarray(values.T[order])
        edges = np.searchsorted(decks[order], np.arange(DECKS + 1))
        for file, start, stop in zip(self._decks, edges[:-1], edges[1:], strict=True):
            file.write(rows[start:stop].data)

    def rows(self) -> Iterator[np.ndarray]:
        """Yield all rows, float32 `[columns, rows]`, and remove the decks."""
        for index, file in enumerate(self._decks):
            size = file.tell()
            file.seek(0)
            if size > self._deck_bytes:
                seed = self._random.integers(2**63)
                again = Shuffle(self._folder / f"{index}.d", self._columns, seed, self._deck_bytes)
                while len(values := self._read(file, self._deck_bytes // 4)):
                    again.add(values.T)
                file.truncate(0)
                yield from again.rows()
            else:
                yield self._random.permutation(self._read(file, size)).T
            file.close()
        shutil.rmtree(self._folder)

    def close(self) -> None:
        """Close the decks."""
        for file in self._decks:
            file.close()

    def _read(self, file, size: int) -> np.ndarray:
        rows = size // (4 * self._columns)
        return np.frombuffer(file.read(rows * 4 * self._columns), np.float32).reshape(-1, self._columns)


def page_order(pages: int, seed: int, epoch: int) -> np.ndarray:
    """Return the numbers of `pages` pages in the order in which `epoch` reads them."""
    return _generator(seed, epoch).permutation(pages)


def _generator(seed: int, epoch: int = 0) -> np.random.Generator:
    return np.random.default_rng([int(seed) % 2**64, epoch])
