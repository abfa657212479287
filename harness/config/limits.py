"""Limits on settings, so that recorded values can be read back and cannot exhaust the machine."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import ConfigError, require

MOST_ROWS = 10**15
MOST_EPOCHS = 10**9
MOST_BYTES = 2**50
SEEDS = -(2**63), 2**63 - 1
"""Seeds are recorded as 64-bit whole numbers."""

MOST_VALUES = 10_000
"""Maximum number of values in a group whose keys are not fixed, such as `model`."""
DEEPEST = 20
LONGEST_TEXT = 10_000


def require_whole(key: str, value: Any, low: int, high: int, *, optional: bool = False) -> None:
    """Raise `ConfigError` unless a value is a whole number in `[low, high]`."""
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{key} must be a whole number, not {shown(value)}.")
    require(low != 1 or value >= 1, f"{key} must be positive, not {shown(value)}.")
    require(low <= value <= high, f"{key} must be from {low} to {high}, not {shown(value)}.")


def require_number(key: str, value: Any, low: float, high: float) -> None:
    """Raise `ConfigError` unless a value is a number in `[low, high]`."""
    require(_is_number(value) and low <= value <= high, f"{key} must be from {low:g} to {high:g}, not {shown(value)}.")


def require_distinct(lists: str, names: Sequence[str]) -> None:
    """Raise `ConfigError` if a name occurs more than once; the message begins with `lists`."""
    twice = ", ".join(sorted(name for name, times in Counter(names).items() if times > 1))
    require(not twice, f"{lists} {twice} more than once.")


def check_values(key: str, values: Any) -> None:
    """Check a group whose keys are not fixed: numbers, text and lists of reasonable size.

    Raises:
        ConfigError: A number is not finite or has more than 64 bits, or the group is too large.
    """
    left = MOST_VALUES

    def check(name: str, value: Any, depth: int) -> None:
        nonlocal left
        left -= 1
        require(left >= 0, f"{key} has more than {MOST_VALUES:,} values.")
        require(depth <= DEEPEST, f"{key} is nested more than {DEEPEST} levels deep.")
        if isinstance(value, Mapping):
            for part, inner in value.items():
                check(f"{name}.{part}", inner, depth + 1)
        elif isinstance(value, list | tuple):
            for inner in value:
                check(name, inner, depth + 1)
        elif isinstance(value, str):
            require(len(value) <= LONGEST_TEXT, f"{name} is longer than {LONGEST_TEXT:,} characters.")
        elif _is_number(value):
            is_usable = math.isfinite(value) if isinstance(value, float) else SEEDS[0] <= value <= SEEDS[1]
            require(is_usable, f"{name} must be a finite number of at most 64 bits, not {shown(value)}.")

    check(key, values, 0)


def shown(value: object) -> str:
    """Return a value as text, even if it is a number with too many digits for Python to write."""
    try:
        return str(value) if len(str(value)) <= 100 else f"{str(value)[:100]}..."
    except ValueError:
        return f"a number with more than {sys.get_int_max_str_digits():,} digits"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
