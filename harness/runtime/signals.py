"""Graceful handling of Ctrl-C, SIGTERM and a closed terminal.

The first signal stops training at the next block, the second immediately.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPING = "stopping at the next block; run the same command again to resume. Interrupt again to stop immediately"


class StopRequest:
    """True once a signal has asked the program to stop."""

    number = 0

    def __bool__(self) -> bool:
        return self.number != 0

    def exit(self) -> None:
        """Raise the default exception of the signal."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.number)


@contextlib.contextmanager
def defer_signals() -> Iterator[StopRequest]:
    """Inside the block, only note the first signal; the second has its usual effect.

    Does nothing outside the main thread, because only the main thread receives signals.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}

    def note(number: int, frame: FrameType | None) -> None:
        request.number = number
        restore()
        with contextlib.suppress(OSError):  # The terminal may be gone.
            os.write(2, f"\nharness: {STOPPING}\n".encode())

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
