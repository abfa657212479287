"""The space from which a search draws trials: an interval or choices for each key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import require

DIGITS = 3
"""Number of digits of proposed fractions; more digits would only make names longer."""


@dataclass(frozen=True)
class Interval:
    """A key with a range of numbers, both ends included; `is_log` spreads trials evenly over orders of magnitude."""

    key: str
    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False

    def __post_init__(self) -> None:
        text = f"{self.key}={self}"
        require(math.isfinite(self.low) and math.isfinite(self.high), f"{text}: its endpoints must be finite.")
        require(self.low < self.high, f"{text}: the first endpoint must be less than the second.")
        require(not self.is_log or self.low > 0, f"{text}: a logarithmic interval must start above 0.")

    def __str__(self) -> str:
        ends = f"interval({number_text(self.low)},{number_text(self.high)})"
        ends = f"int({ends})" if self.is_whole else ends
        return f"tag(log,{ends})" if self.is_log else ends

    def value(self, share: float) -> str:
        """Return the value at a `share` of the interval, in [0, 1)."""
        low, high = (self.low, self.high + 1) if self.is_whole else (self.low, self.high)
        if self.is_log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        if self.is_whole:
            return str(min(max(math.floor(value), int(self.low)), int(self.high)))
        return self.rounded(value)

    def rounded(self, value: float) -> str:
        """Return a fraction, with enough digits to distinguish it from others even in a narrow interval."""
        width = abs(value) * math.log(self.high / self.low) if self.is_log else self.high - self.low
        finest = min(abs(value), width) or width
        rounded = round(value, DIGITS - 1 - math.floor(math.log10(finest)))
        return repr(float(min(max(rounded, self.low), self.high)))


def number_text(value: float) -> str:
    """Return a number in common notation, with all its digits."""
    return repr(float(value)).removesuffix(".0")


@dataclass(frozen=True)
class Choices:
    """A key with a list of values; a single value is a constant."""

    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.values)

    def value(self, share: float) -> str:
        """Return the value at a `share` of the list, in [0, 1)."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


Axis = Interval | Choices


@dataclass(frozen=True)
class Space:
    """All axes, in the order of the command line."""

    axes: tuple[Axis, ...]

    def __str__(self) -> str:
        return " ".join(f"{axis.key}={axis}" for axis in self.axes)

    def of(self, key: str) -> Axis | None:
        """Return the axis of a key."""
        return next((axis for axis in self.axes if axis.key.lstrip("+") == key), None)

    def words(self, values: Any) -> list[str]:
        """Return a trial as overrides, given the values of its keys."""
        return [f"{axis.key}={values[axis.key]}" for axis in self.axes]

    def searched(self, without: Sequence[str]) -> list[Axis]:
        """Return the axes with several values, except those in `without`."""
        many = [axis for axis in self.axes if isinstance(axis, Interval) or len(axis.values) > 1]
        return [axis for axis in many if axis.key not in without]
