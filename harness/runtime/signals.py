"""Graceful Ctrl-C and SIGTERM: the first stops at the next block, the second immediately."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "stopping at the next block; the same command resumes from there. Interrupt again to stop immediately"


class StopRequest:
    """True once the program has been asked to stop."""

    def __init__(self) -> None:
        self._signal = 0

    def __bool__(self) -> bool:
        return self._signal != 0

    def receive(self, number: int) -> None:
        """Note a signal."""
        self._signal = number

    def exit(self) -> None:
        """Raise what the signal raises by default."""
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self._signal)


@contextlib.contextmanager
def defer_signals() -> Iterator[StopRequest]:
    """Inside the block, only note the first signal; the second has its usual effect.

    Does nothing outside the main thread, which alone receives signals.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        request.receive(number)
        restore()
        os.write(2, f"\nharness: {STOPPING}\n".encode())

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
