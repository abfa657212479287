"""The thread that sends records from their outbox to the store, however long it takes."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tenacity import RetryCallState, Retrying, wait_exponential

from harness.formatting import count
from harness.runtime.secrets import masked
from harness.tracking.mlflow_calls import ONE_BY_ONE, Delivery, MlflowCalls
from harness.tracking.outbox import LeaseLost, Outbox, RecordRejected, StoreUnreachable, Taken
from harness.tracking.records import Record, to_line
from harness.tracking.store_errors import attempts_at, cannot_write, is_unreachable, reason

INTERVAL = 2.0
"""How long to collect records, in seconds, so that requests are few and large."""

_POLL = 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 15.0
_GRACE = 5.0
"""Seconds that a pending request may take beyond the deadline."""


class Sender:
    """Sends the records of earlier processes, then new ones every two seconds or on request."""

    def __init__(
        self,
        outbox: Outbox,
        find_leftovers: Callable[[], Iterator[Outbox]],
        calls: MlflowCalls,
        uri: str,
        *,
        wait: float,
        say: Callable[[str], None],
    ) -> None:
        """Start the thread.

        Args:
            outbox: The source of new records.
            find_leftovers: Opens the outboxes of processes that have ended, one after another.
            calls: Turns records into calls to MLflow.
            uri: The store's URI, for messages.
            wait: Seconds that `flush` and `close` wait for an unreachable store.
            say: Called with a message when the store becomes unreachable, and when it is reachable again.
        """
        self._outbox, self._find_leftovers, self._calls, self._uri = outbox, find_leftovers, calls, uri
        self._wait, self._say = wait, say
        self._retrying = Retrying(
            retry=lambda state: _error(state) is not None and state.attempt_number < attempts_at(_error(state)),
            after=lambda state: self._note_outage(_error(state)),
            stop=lambda state: self._should_stop(_error(state)),
            wait=wait_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
            sleep=self._sleep,
            retry_error_callback=lambda state: self._give_up(),
        )
        self._undeliverable: set[Path] = set()
        self._searches_wanted, self._searches_done = 1, 0  # For leftover outboxes.
        self._incomplete: set[str] = set()  # Runs with a record that could not be delivered.
        self._error: Exception | None = None
        self._is_unreachable = False
        self._cannot_write = False  # The store is unreachable for a reason that waiting will not fix.
        self._is_behind = False  # The store was unreachable, and has not yet received everything.
        self._changed = threading.Condition()
        self._is_asked = False
        self._is_closing = False
        self._deadline = math.inf
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """See `Tracker.flush`."""
        self._await(lambda: self._outbox.pending)
        if self._error:
            raise self._error

    def deliver_leftovers(self) -> None:
        """See `Tracker.deliver_leftovers`."""
        with self._changed:
            self._searches_wanted += 1
        self._await(self._is_searching)

    def close(self, wait: float | None = None) -> None:
        """See `Tracker.close`."""
        seconds = self._wait if wait is None else wait
        with self._changed:
            self._is_closing = True
            self._deadline = time.monotonic() + seconds
            is_waiting = self._is_unreachable and not self._cannot_write and self._thread.is_alive() and seconds > 0
            self._changed.notify_all()
        if is_waiting:
            limit = f"waiting up to {seconds:.0f} s"
            self._say(f"store:  {limit} for the tracking store; Ctrl-C stops waiting and keeps the records for later")
        while self._thread.is_alive() and not (self._is_unreachable and time.monotonic() > self._deadline + _GRACE):
            self._thread.join(_POLL)
        has_kept = self._outbox.pending or self._is_searching()
        if not self._thread.is_alive():
            self._outbox.close()
        if self._error and not self._is_unreachable:
            raise self._error
        if has_kept:
            self._give_up()

    def _is_searching(self) -> bool:
        return self._searches_done < self._searches_wanted

    def _await(self, is_busy: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._wait
        with self._changed:
            self._is_asked = True
            self._changed.notify_all()
            while is_busy() and self._thread.is_alive():
                if self._is_unreachable and (self._cannot_write or time.monotonic() >= deadline):
                    self._give_up()
                self._changed.wait(_POLL)

    def _work(self) -> None:
        try:
            while True:
                self._search()
                with self._changed:
                    if not self._is_closing and not self._is_asked:
                        self._changed.wait(INTERVAL)
                    is_closing, self._is_asked = self._is_closing, False
                self._deliver(self._outbox)
                if is_closing:
                    return
        except StoreUnreachable:
            pass
        except Exception as error:
            self._error = self._error or error
        finally:
            with self._changed:
                self._changed.notify_all()

    def _search(self) -> None:
        """Deliver all leftover outboxes if requested, keeping only one of them open at a time."""
        wanted = self._searches_wanted
        if self._searches_done < wanted:
            for outbox in self._find_leftovers():
                with contextlib.closing(outbox):
                    if outbox.path not in self._undeliverable:
                        self._deliver_leftover(outbox)
        with self._changed:
            self._searches_done = wanted
            self._changed.notify_all()

    def _deliver_leftover(self, outbox: Outbox) -> None:
        """Deliver an outbox; an unreadable one does not keep others from being delivered."""
        try:
            self._deliver(outbox)
        except (StoreUnreachable, LeaseLost):
            raise
        except Exception as error:
            self._say(f"store:  {outbox.path} cannot be delivered ({reason(error)}) and is kept")
            self._undeliverable.add(outbox.path)

    def _deliver(self, outbox: Outbox) -> None:
        """Deliver all records of an outbox; what cannot be delivered is set aside."""
        stored = None if outbox is self._outbox else self._calls.stored_points(self._uri)
        while outbox.pending:
            taken = outbox.take()
            if taken.bad:
                self._set_aside_lines(taken, outbox)
            records = taken.records
            if stored:
                self._retrying(stored.read, records)
                records = stored.without(records)
            alone = [record for record in records if record["kind"] in ONE_BY_ONE]
            self._make(alone, outbox)
            # Only now is it known which runs lack records.
            self._make([record for record in records if record["kind"] not in ONE_BY_ONE], outbox)
            with self._changed:
                outbox.mark_delivered()
                self._changed.notify_all()
        if self._is_behind and outbox is self._outbox:
            self._is_behind = False
            self._say("store:  the tracking store is reachable again; all records are delivered")

    def _make(self, records: Sequence[Record], outbox: Outbox) -> None:
        """Deliver records together; if that fails, one by one."""
        records = [self._killed_if_incomplete(record, outbox) for record in records]
        lists = self._calls.deliveries(records, outbox, is_own=outbox is self._outbox)
        for delivery in itertools.chain.from_iterable(map(self._left_of, lists)):
            try:
                for call in delivery.calls():
                    self._retrying(call)
            except (StoreUnreachable, LeaseLost):
                raise
            except Exception as error:
                if len(delivery.records) == 1:
                    self._set_aside(delivery.records[0], error, outbox)
                else:
                    for record in delivery.records:
                        self._make([record], outbox)
            self._is_behind, self._is_unreachable = self._is_behind or self._is_unreachable, False

    def _left_of(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Make deliveries concurrently if possible; return those to make one after another."""
        is_possible = self._calls.at_once > 1 and len(deliveries) > 1 and not self._is_unreachable
        return self._calls.make_at_once(deliveries) if is_possible else deliveries

    def _killed_if_incomplete(self, record: Record, outbox: Outbox) -> Record:
        """Mark the end of a run that lacks a record as killed, so that the next command completes the run."""
        is_whole = not outbox.is_damaged and record["run"] not in self._incomplete
        return record if is_whole or record["kind"] != "end" else {**record, "status": "KILLED"}

    def _set_aside_lines(self, taken: Taken, outbox: Outbox) -> None:
        outbox.reject(taken.bad)
        self._incomplete |= taken.incomplete
        said = (
            f"{count(len(taken.bad), 'line')} of {outbox.path} cannot be used ({taken.fault}); moved to "
            f"{outbox.rejected}. Repeat the command that wrote the file to complete its runs."
        )
        if outbox is self._outbox:
            self._error = self._error or RecordRejected(said)
        else:
            self._say(f"store:  {said}")

    def _set_aside(self, record: Record, error: Exception, outbox: Outbox) -> None:
        outbox.reject([to_line(record)])
        self._incomplete.add(record["run"])
        of_run = f" of run {record['run']}" if record["run"] else ""
        said = f"a record{of_run} ({record['kind']}) was rejected ({reason(error)}); it is kept in {outbox.rejected}"
        if outbox is self._outbox:
            if self._error is None:
                self._error = RecordRejected(said)
                self._error.__cause__ = error
        else:
            self._say(f"store:  {said}")

    def _note_outage(self, error: BaseException) -> None:
        if not is_unreachable(error):
            return
        if not self._is_unreachable:
            self._is_unreachable = True
            folder = self._outbox.path.parent
            self._say(f"store:  the tracking store is unreachable ({reason(error)}); records are kept in {folder}")
        with self._changed:
            self._cannot_write = cannot_write(error)

    def _should_stop(self, error: BaseException) -> bool:
        is_over = time.monotonic() >= self._deadline or (self._is_closing and self._cannot_write)
        return is_over and is_unreachable(error)

    def _sleep(self, seconds: float) -> None:
        """Wait, but not beyond the deadline, and only until `close` is called."""
        until = time.monotonic() + seconds
        with self._changed:
            was_closing = self._is_closing
            while (left := min(until, self._deadline) - time.monotonic()) > 0 and self._is_closing == was_closing:
                self._changed.wait(left)

    def _give_up(self) -> None:
        raise StoreUnreachable(
            f"the tracking store {masked(self._uri)} is unreachable. Undelivered records are kept in "
            f"{self._outbox.path}; the next `harness train` with the same store and runtime.cache delivers them."
        )


def _error(state: RetryCallState) -> Any:
    return state.outcome.exception() if state.outcome else None
