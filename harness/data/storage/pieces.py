"""Turns pieces of bytes into a stream."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any


def stream_of(pieces: Iterator[bytes], buffer_bytes: int = io.DEFAULT_BUFFER_SIZE) -> io.BufferedReader:
    """Return a stream of the bytes in `pieces`, which may be empty; its position is the number of bytes read."""
    return io.BufferedReader(_Pieces(pieces), buffer_bytes)


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._ready, self._position = pieces, memoryview(b""), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._ready:
            self._ready = memoryview(next(filter(None, self._pieces), b""))
        taken, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(taken)] = taken
        self._position += len(taken)
        return len(taken)

    def tell(self) -> int:
        return self._position
