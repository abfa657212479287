"""Numbers as text, for people."""

from __future__ import annotations


def millions(value: float) -> str:
    """Write a count in at most six characters or so: 950, 21.6k, 3.2M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:  # From here on three digits round to the unit.
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"
