"""Shuffles training rows: individually while a table is written, and page by page in each epoch.

Both use bounded memory. Rows are dealt at random to decks, which are files if there are many rows, and each deck, which
fits in memory, is permuted, so all orders are equally likely. In each epoch, only whole pages are permuted, so that
reading stays sequential; a run's seed also permutes the rows within each page.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

DECKS = 256
DECK_BYTES = 16 << 20
"""Maximum size in bytes of rows permuted at once; a larger deck is dealt again."""
HELD_BYTES = 32 << 20
"""Size in bytes of the rows held in memory before they are appended to their decks' files, one file at a time.
Permuting a deck takes as much memory."""


class Shuffle:
    """Takes rows and returns them in an order that depends only on `seed`."""

    def __init__(
        self, folder: Path, columns: int, seed: int, deck_bytes: int = DECK_BYTES, kind: type[np.generic] = np.float32
    ) -> None:
        """Create a folder for the decks; `kind` is the type of the values."""
        self._folder, self._columns, self._deck_bytes, self._kind = folder, columns, deck_bytes, np.dtype(kind)
        self._random = _generator(seed)
        self._held: list[list[np.ndarray]] = [[] for _ in range(DECKS)]
        self._held_bytes = 0
        folder.mkdir()

    def add(self, values: np.ndarray) -> None:
        """Add rows, `[columns, rows]`."""
        decks = self._random.integers(DECKS, size=values.shape[1], dtype=np.uint16)
        order = np.argsort(decks, kind="stable")
        rows = np.ascontiguousarray(values.T[order])
        edges = np.searchsorted(decks[order], np.arange(DECKS + 1))
        for held, start, stop in zip(self._held, edges[:-1], edges[1:], strict=True):
            if start < stop:
                held.append(rows[start:stop])
        self._held_bytes += rows.nbytes
        if self._held_bytes >= HELD_BYTES:
            self._append()

    def rows(self) -> Iterator[np.ndarray]:
        """Yield all rows, `[columns, rows]`, and remove the decks."""
        longest = max(self._deck_bytes, self._row_bytes)
        if any(self._folder.iterdir()) or any(sum(rows.nbytes for rows in held) > longest for held in self._held):
            self._append()
        for deck, held in enumerate(self._held):
            path = self._path(deck)
            size = path.stat().st_size if path.exists() else 0
            if size > longest:
                seed = self._random.integers(2**63)
                again = Shuffle(self._folder / f"{deck}.d", self._columns, seed, self._deck_bytes, self._kind.type)
                with path.open("rb") as file:
                    while len(values := self._read(file, self._deck_bytes // 4)):
                        again.add(values.T)
                path.unlink()
                yield from again.rows()
            elif size:
                with path.open("rb") as file:
                    values = self._read(file, size)
                path.unlink()
                yield self._random.permutation(values).T
            elif held:
                yield self._random.permutation(np.concatenate(held)).T
                held.clear()
        shutil.rmtree(self._folder)

    def _append(self) -> None:
        """Append the rows held in memory to their decks."""
        for deck, held in enumerate(self._held):
            if held:
                with self._path(deck).open("ab") as file:
                    file.writelines(rows.data for rows in held)
                held.clear()
        self._held_bytes = 0

    def _path(self, deck: int) -> Path:
        return self._folder / str(deck)

    def _read(self, file: BinaryIO, size: int) -> np.ndarray:
        rows = max(size // self._row_bytes, 1)
        return np.frombuffer(file.read(rows * self._row_bytes), self._kind).reshape(-1, self._columns)

    @property
    def _row_bytes(self) -> int:
        return self._kind.itemsize * self._columns


def page_order(pages: int, split_seed: int, epoch: int, seed: int = 0) -> np.ndarray:
    """Return the indices of `pages` pages in the order in which `epoch` reads them for runs with this `seed`."""
    return _generator(split_seed, epoch, seed).permutation(pages)


def row_order(rows: int, split_seed: int, page: int, seed: int) -> np.ndarray:
    """Return the order in which runs with this `seed` read the rows of a page; seed 0 keeps the stored order."""
    return _generator(split_seed, page, seed, 1).permutation(rows) if seed else np.arange(rows)


def _generator(seed: int, *more: int) -> np.random.Generator:
    """Return a random number generator; trailing zeros in `more` make no difference."""
    return np.random.default_rng([int(seed) % 2**64, *more])
