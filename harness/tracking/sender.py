"""The thread that brings records from their outbox to the store, however long that takes."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from harness.runtime.secrets import masked
from harness.tracking.mlflow_calls import Call, MlflowCalls
from harness.tracking.outbox import Outbox, Undelivered
from harness.tracking.store import is_clash, is_gone, is_stuck, reason

INTERVAL = 2.0
"""Seconds in which records are gathered, so that requests are few and large."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0
POLL = 0.2
GRACE = 5.0
"""Seconds beyond its deadline for which a request that is under way is waited for."""

ATTEMPTS_AT_CLASH = 3
"""Attempts at a record that another process writes at the same moment."""

ATTEMPTS_AT_ERROR = 5
"""Attempts at a record at which a server has an inner error; then it is taken for a refusal."""


class Sender:
    """Delivers what other processes left, and then, every two seconds or when asked to, what has come since."""

    def __init__(
        self,
        outbox: Outbox,
        left: Sequence[Outbox],
        delivery: MlflowCalls,
        uri: str,
        *,
        wait: float,
        say: Callable[[str], None],
    ) -> None:
        """Start.

        Args:
            outbox: Whose records are delivered as they come.
            left: What other processes left.
            delivery: What records are as calls.
            uri: The store's.
            wait: Seconds that `flush` and `close` wait for a store that does not answer.
            say: Called when the store goes away, and when it is back.
        """
        self._outbox, self._left, self._delivery, self._uri = outbox, list(left), delivery, uri
        self._wait, self._say = wait, say
        self._error: Exception | None = None
        self._gone = False  # At the last attempt the store did not answer.
        self._stuck = False  # And waiting alone will not mend that.
        self._owing = False  # It has answered since, and has not got all yet.
        self._changed = threading.Condition()
        self._asked = False  # Somebody waits for what there is to be delivered.
        self._closing = False
        self._deadline = math.inf
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Wait until all records so far are delivered.

        Raises:
            Undelivered: The store does not answer.
            Exception: What MLflow said to a record that it did not take.
        """
        self._await([self._outbox])
        if self._error:
            raise self._error

    def adopt(self, outboxes: Iterable[Outbox]) -> None:
        """Deliver what processes that are gone have left, besides what was found at the start, and wait for all of it.

        Raises:
            Undelivered: The store does not answer.
        """
        with self._changed:
            self._left += outboxes
        self._await(self._left)

    def close(self, wait: float | None = None) -> None:
        """Deliver what is left and end the thread; raises as `flush` does."""
        with self._changed:
            self._closing = True
            self._deadline = time.monotonic() + (self._wait if wait is None else wait)
            gone = self._gone and not self._stuck and self._thread.is_alive() and self._deadline > time.monotonic()
            self._changed.notify_all()
        if gone:
            seconds = self._wait if wait is None else wait
            self._say(f"store:  waiting up to {seconds:.0f} s for it; Ctrl-C leaves the records where they are")
        while self._thread.is_alive() and not (self._gone and time.monotonic() > self._deadline + GRACE):
            self._thread.join(POLL)
        outboxes = (self._outbox, *self._left)
        kept = any(outbox.pending for outbox in outboxes)
        if not self._thread.is_alive():
            for outbox in outboxes:
                outbox.close(discard=not outbox.pending)
        if kept:
            raise self._undelivered()
        if self._error:
            raise self._error

    def _await(self, outboxes: Sequence[Outbox]) -> None:
        deadline = time.monotonic() + self._wait
        with self._changed:
            self._asked = True
            self._changed.notify_all()
            while any(outbox.pending for outbox in outboxes) and self._thread.is_alive():
                if self._gone and (self._stuck or time.monotonic() >= deadline):
                    raise self._undelivered()
                self._changed.wait(POLL)

    def _work(self) -> None:
        """Deliver what earlier trackers left, and then, now and then, what has come."""
        try:
            while True:
                for outbox in self._left:
                    self._deliver(outbox)
                with self._changed:
                    if not self._closing and not self._asked:
                        self._changed.wait(INTERVAL)
                    closing, self._asked = self._closing, False
                self._deliver(self._outbox)
                if closing:
                    return
        except Undelivered:
            pass
        finally:
            with self._changed:
                self._changed.notify_all()

    def _deliver(self, outbox: Outbox) -> None:
        """Deliver all that is in an outbox; what the store refuses is dropped."""
        while outbox.pending and (records := outbox.take()):
            for call in self._delivery.calls(records):
                self._insist(call, outbox)
            with self._changed:
                outbox.delivered()
                self._changed.notify_all()
        if self._owing and outbox is self._outbox:
            self._owing = False
            self._say("store:  it answers again; all records are delivered")

    def _insist(self, call: Call, outbox: Outbox) -> None:
        """Make a call until the store has answered."""
        pause, attempts = FIRST_PAUSE, 0
        while True:
            try:
                call()
                break
            except Exception as error:
                attempts += 1
                inner = "500 error" in reason(error) and attempts >= ATTEMPTS_AT_ERROR
                if is_clash(error) and attempts < ATTEMPTS_AT_CLASH:
                    continue
                if not is_gone(error) or inner:
                    if outbox is self._outbox:
                        self._error = self._error or error
                    else:
                        self._say(f"store:  it refuses a record that was left in {outbox.path}: {reason(error)}")
                    break
                self._pause(pause, error)
                pause = min(pause * 2, LONGEST_PAUSE)
        self._owing, self._gone = self._owing or self._gone, False

    def _pause(self, seconds: float, error: Exception) -> None:
        """Wait before the next attempt; the first time, say so, and the last time, give up."""
        if not self._gone:
            self._gone = True
            self._say(f"store:  it does not answer ({reason(error)}); records are kept in {self._outbox.path.parent}")
        with self._changed:
            self._stuck = is_stuck(error)
            was_closing = self._closing
            if time.monotonic() >= self._deadline or (self._closing and self._stuck):
                raise self._undelivered()
            until = time.monotonic() + seconds
            while (left := min(until, self._deadline) - time.monotonic()) > 0 and self._closing == was_closing:
                self._changed.wait(left)

    def _undelivered(self) -> Undelivered:
        return Undelivered(
            f"the store {masked(self._uri)} does not answer; what it has not got is kept in {self._outbox.path}, and "
            "the next `harness train` with this store and runtime.cache delivers it"
        )
