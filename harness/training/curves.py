"""Which points of a curve are kept."""

from __future__ import annotations

import numpy as np


def thinned(updates: np.ndarray, total: int, points: int) -> np.ndarray:
    """Return a mask of the `updates` (counted from 1) to keep in a curve of at most `points` out of `total` updates.

    The first and the last update are always kept.
    """
    stride = -(-total // (points - 2))
    return (updates % stride == 0) | (updates == 1) | (updates == total)
