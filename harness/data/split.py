"""Decides which rows of a source are trained on, held out, or set aside for testing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from harness.config.any_data import AnyData
from harness.data.tables.pages import Part

_END = 2**64
"""All hashes are smaller than this."""


@dataclass(frozen=True)
class Split:
    """Assigns rows to parts: a row belongs to the part whose range contains its 64-bit hash.

    Attributes:
        seed: Seed of the hashes of row numbers or keys.
        holdout: Where the range of the holdout begins and ends.
        test: Where the range of the test set begins; it ends with the largest hash.
    """

    seed: int
    holdout: tuple[int, int]
    test: int

    @classmethod
    def of(cls, data: AnyData, *, is_held_out_apart: bool = False) -> Split:
        """Return the split that `data` describes; without folds, the holdout has the range of the first fold.

        If `is_held_out_apart`, the holdout comes from a separate source, and its range is empty.
        """
        test = _END - int(data.test * _END)
        if is_held_out_apart:
            return cls(data.split_seed, (0, 0), test)
        if data.folds is None or data.fold is None:
            return cls(data.split_seed, (0, int(data.holdout * _END)), test)
        first, last = (test * fold // data.folds for fold in (data.fold, data.fold + 1))
        return cls(data.split_seed, (first, last), test)

    def parts(self, first_row: int, count: int) -> dict[Part, np.ndarray]:
        """Return which of `count` rows of a source, starting at `first_row`, belong to which part, bool `[count]` each.

        This depends only on a row's number and the seed.
        """
        hashes = _hashes(first_row, count, self.seed)
        test = _in(hashes, self.test, _END)
        holdout = _in(hashes, *self.holdout) & ~test
        return {"train": ~(holdout | test), "holdout": holdout, "test": test}

    def part_of(self, key: str) -> Part:
        """Return the part to which `key` belongs; it depends only on the key and the seed."""
        digest = hashlib.blake2b(f"{self.seed}:{key}".encode(), digest_size=8).digest()
        value = int.from_bytes(digest, "little")
        if value >= self.test:
            return "test"
        return "holdout" if self.holdout[0] <= value < self.holdout[1] else "train"


def _in(hashes: np.ndarray, first: int, end: int) -> np.ndarray:
    if first >= end:
        return np.zeros(len(hashes), bool)
    return (hashes >= np.uint64(first)) & (hashes <= np.uint64(end - 1))


def _hashes(first_row: int, count: int, seed: int) -> np.ndarray:
    """Hash row numbers and `seed` with the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    with np.errstate(over="ignore"):
        z = np.arange(first_row, first_row + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed % 2**64) * np.uint64(0xD1342543DE82EF95) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return z
