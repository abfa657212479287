"""The losses of a tile's updates, thinned for recording."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np


def thinned(updates: np.ndarray, total: int, points: int) -> np.ndarray:
    """Return a mask of the `updates` (counted from 1) to keep in a curve of at most `points` out of `total` updates.

    The first and the last update are always kept.
    """
    stride = -(-total // (points - 2))
    return (updates % stride == 0) | (updates == 1) | (updates == total)


class TileCurve:
    """The losses of a tile's updates in the current epoch, thinned for each of its stops."""

    def __init__(self, tile: int, totals: Collection[int], points: int) -> None:
        """Begin an epoch.

        Args:
            tile: Number of lanes.
            totals: Updates of the lanes' stops.
            points: Maximum number of points that one stop keeps.
        """
        self._tile, self._totals, self._points = tile, {*totals}, points
        self._pieces: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, updates: np.ndarray, losses: np.ndarray) -> None:
        """Keep points of consecutive `updates`, with losses `[updates, tile]`."""
        keep = np.any([thinned(updates, total, self._points) for total in self._totals], axis=0)
        self._pieces.append((updates[keep], losses[keep]))

    def kept(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the updates that are kept, and their losses, float32 `[updates, tile]`."""
        if not self._pieces:
            return np.zeros(0, np.int64), np.zeros((0, self._tile), np.float32)
        updates, losses = zip(*self._pieces, strict=True)
        return np.concatenate(updates), np.concatenate(losses)

    def restore(self, updates: np.ndarray, losses: np.ndarray) -> None:
        """Continue with what `kept` returned."""
        self._pieces = [(updates, losses)]

    def part(self, start: int, tile: int) -> TileCurve:
        """Return the curve of `tile` lanes from `start`."""
        found = TileCurve(tile, self._totals, self._points)
        found._pieces = [(updates, losses[:, start : start + tile]) for updates, losses in self._pieces]
        return found

    def clear(self) -> None:
        """Begin the next epoch."""
        self._pieces = []
