"""Formats numbers and lists as short text for display."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta


def millions(value: float) -> str:
    """Format a count with three digits and a unit: 950, 21.6k, 3.2M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:  # The smallest unit in which the number rounds to at least 1.
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def number(value: float) -> str:
    """Format a number with four significant digits, or as an integer if it is 1,000 or more."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def score(value: float) -> str:
    """Format a score of at most 1 with three decimals."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def count(quantity: float, noun: str) -> str:
    """Format a quantity with its noun, in the plural if necessary."""
    return f"{quantity:,.0f} {noun}{'' if quantity == 1 else 's'}"


def listed(words: Sequence[str], most: int) -> str:
    """Join the first `most` words with commas, and indicate if there are more."""
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")


def data_size(number_of_bytes: float) -> str:
    """Format a number of bytes with a unit: 800 B, 1.64 kB, 3.2 GB."""
    text = millions(number_of_bytes)
    digits = text.rstrip("kMGT")
    return f"{digits} {text[len(digits) :]}B"


def age(seconds: float) -> str:
    """Format a duration in its largest unit."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def duration(seconds: float) -> str:
    """Format a duration in seconds, or as H:MM:SS if it is at least 100 seconds."""
    return f"{seconds:.1f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))
