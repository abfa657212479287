"""Ctrl-C and SIGTERM at a time when it suits: once stops at the next block, twice at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "stopping at the next block, from where the same command goes on; once more stops at once"


class Stop:
    """Whether the program has been asked to stop."""

    def __init__(self) -> None:
        self._signal = 0

    def __bool__(self) -> bool:
        return self._signal != 0

    def obey(self) -> None:
        """End as the signal would have."""
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self._signal)

    def ask(self, number: int) -> None:
        """Ask for it, as a signal does."""
        self._signal = number


@contextlib.contextmanager
def deferred() -> Iterator[Stop]:
    """Only note the first signal that comes inside; the next one is what it always is.

    Outside the main thread, which alone gets signals, nothing is changed.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        stop.ask(number)
        restore()
        os.write(2, f"\nharness: {STOPPING}\n".encode())

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
