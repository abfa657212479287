"""Decides which rows of a source are held out."""

from __future__ import annotations

import hashlib

import numpy as np


def held_out(first_row: int, count: int, fraction: float, seed: int) -> np.ndarray:
    """Return which of `count` rows of a source, starting at `first_row`, are held out.

    This depends on a row's number and `seed` alone: a row is held out if a 64-bit hash of both (the finalizer of
    SplitMix64, Steele, Lea and Flood, 2014) falls into the lowest `fraction` of its range.

    Returns:
        bool `[count]`.
    """
    if fraction == 0:
        return np.zeros(count, bool)
    with np.errstate(over="ignore"):
        z = np.arange(first_row, first_row + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed % 2**64) * np.uint64(0xD1342543DE82EF95) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return z < np.uint64(int(fraction * 2**64))


def is_held_out(key: str, fraction: float, seed: int) -> bool:
    """Return whether what `key` identifies is held out, which depends on nothing but the key and `seed`."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < int(fraction * 2**64)
