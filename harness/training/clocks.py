"""Measures the time that a scan spends on each activity."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


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

    def reading(self, blocks: Generator[T]) -> Iterator[T]:
        """Yield `blocks`; the time spent waiting for them counts as reading."""
        with contextlib.closing(blocks):
            while True:
                with self.time("read"):
                    block = next(blocks, None)
                if block is None:
                    return
                yield block
