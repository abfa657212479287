"""Reads the arrays of a saved state and validates them, because they come from a file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import DTypeLike

State = Mapping[str, np.ndarray]


def arrays_under(prefix: str, state: State) -> dict[str, np.ndarray]:
    """Return the arrays whose names start with `prefix`, which is removed."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def require_names(state: State, names: Collection[str]) -> None:
    """Raise `ValueError` unless the state has exactly these arrays."""
    if set(state) != set(names):
        odd = sorted(set(state) ^ set(names))
        raise ValueError(f"it belongs to other lanes: {', '.join(odd[:3])}")


def array(state: State, name: str, dtype: DTypeLike, shape: Sequence[int | None]) -> np.ndarray:
    """Return an array of a state.

    Raises:
        ValueError: The array has another type or shape; None in `shape` allows any length.
    """
    values = state[name]
    fits = len(values.shape) == len(shape) and all(
        expected in (None, length) for length, expected in zip(values.shape, shape, strict=True)
    )
    if values.dtype != np.dtype(dtype) or not fits:
        raise ValueError(f"{name} has shape {values.shape} and type {values.dtype}")
    return values


def numbers(state: State, name: str, shape: Sequence[int | None], least: int, most: int) -> np.ndarray:
    """Return an array of integers.

    Raises:
        ValueError: The array has another type or shape, or contains a number that is not between `least` and `most`.
    """
    values = array(state, name, np.int64, shape)
    if values.size and not (least <= values.min() and values.max() <= most):
        raise ValueError(f"{name} is out of range")
    return values


def position(state: State, epochs: int, rows: int, slice_rows: int) -> tuple[int, int]:
    """Return the epoch and the row at which a scan continues.

    Raises:
        ValueError: No block ends there.
    """
    epoch, row = map(int, numbers(state, "position", [2], 0, max(epochs + 1, rows)))
    is_between_blocks = row == rows or (row < rows and row % slice_rows == 0)
    if not 1 <= epoch <= epochs + (row == 0) or not is_between_blocks:
        raise ValueError(f"epoch {epoch}, row {row} is not a position of this scan")
    return epoch, row


def durations(state: State, name: str, count: int) -> list[float]:
    """Return an array of seconds.

    Raises:
        ValueError: The array has another type or length, or contains a number that is not a duration.
    """
    values = array(state, name, np.float64, [count])
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError(f"{name}: not valid durations")
    return values.tolist()
