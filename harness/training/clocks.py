"""Measures the time that a scan spends on each activity."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Clocks:
    """A scan's wall-clock time by activity, in seconds."""

    compile: float = 0.0
    read: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time spent inside the block to the clock `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + time.perf_counter() - start)
