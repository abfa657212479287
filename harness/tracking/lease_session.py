"""This process's leases on a tracking server, which keep processes on other machines from training the same runs.

Each process creates its session before it reads those of others, so of any two, one sees the other's. To lease a name,
a process writes to the name's cell in all sessions that it sees, including its own, ordered by id, and has to succeed
in all. Whoever has written the last value of the name's cell in its own session has leased it.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential

from harness.runtime.environment import default_environment
from harness.runtime.secrets import masked
from harness.tracking.clock import boot_seconds
from harness.tracking.lease_cells import FREE, LeaseCells, Session
from harness.tracking.outbox import LeaseLost, StoreUnreachable
from harness.tracking.store import FIRST_CONTACT
from harness.tracking.store_errors import cannot_write, is_unreachable, reason

_BEATS = 6
"""Heartbeats per `tracking.lease_seconds`; a process that misses all of them is considered dead."""

_PAUSE = 5.0
"""Maximum seconds to wait for the thread, both after this process was suspended and in `end`."""

_Result = TypeVar("_Result")


class LeaseSession:
    """This process's session; a thread shows that the process is alive until `end`.

    A process is considered dead when its heartbeat has not changed for `seconds`, by the clock of another process that
    could read it all that time. Its session is then ended permanently. A process writes only if, within the last half
    of that time, it has updated its heartbeat and then found that its session had not been ended.

    Attributes:
        id: The id of the session's run.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        seconds: float,
        *,
        tags: Mapping[str, str],
        has_ended: Callable[[Mapping[str, str]], bool] = lambda tags: False,
        wait: float = 0.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Start the session.

        Args:
            client: MLflow's client of the store.
            experiment_id: The experiment whose runs may be leased.
            seconds: Seconds without a heartbeat after which this process is considered dead.
            tags: Tags by which this process can be recognized.
            has_ended: Whether a process with these tags is known to have ended.
            wait: Seconds to wait for an unreachable store.
            say: Called with a message when this process waits for the store.
        """
        self._cells, self._seconds, self._wait = LeaseCells(client, experiment_id), seconds, wait
        self._uri, self._host = masked(client.tracking_uri), tags.get("host", "a process")
        self._has_ended, self._say = has_ended, say
        self._lock, self._tried = threading.RLock(), threading.Condition()
        self._wake, self._is_over, self._is_lost = threading.Event(), False, False
        self._renewed = self._asked = self._last_try = self._last_read = boot_seconds()
        self._waited_for, self._is_removed, self._is_waiting = 0.0, False, False
        self._failure: Exception | None = None  # The error of the last try.
        self._leased: dict[str, int] = {}  # By name: the position of the last value in this session's cell.
        self._known: set[str] = set()
        self._heartbeats: dict[str, tuple[str, float]] = {}  # By session: the last heartbeat, and when first read.
        self._closed: dict[str, float] = {}  # By session closed by this process: when it may be ended.
        self._beats = itertools.count(1)
        self.id = self._patiently(lambda: self._cells.start(tags, seconds), 0)
        threading.Thread(target=self._beat, name="leases", daemon=True).start()

    def take(self, names: Iterable[str]) -> set[str]:
        """Lease the `names` that no other process has leased, and return all that are leased now.

        Raises:
            LeaseLost: This session was ended.
            StoreUnreachable: The store stays unreachable. All methods that read or write names may raise this.
        """
        names = set(names)
        self._patiently(lambda: self._take(names - self._leased.keys()))
        self._patiently(self.check)
        return names & self._leased.keys()

    def announce(self, name: str) -> None:
        """Let other processes find `name` in `others`, even if one of them has announced it too."""
        if name not in self._leased:
            self._patiently(lambda: self._write({name}, self.id))

    def drop(self, names: Iterable[str], wait: float | None = None) -> None:
        """Release the leases on `names`; `wait` overrides the time to wait for an unreachable store."""
        if dropped := self._leased.keys() & set(names):
            self._patiently(lambda: self._write(dropped, FREE), wait)

    def others(self) -> set[str]:
        """Return the names that other live processes have leased or announced."""
        sessions = self._patiently(self._read)
        return {name for key, session in sessions.items() if key != self.id for name in session.leased}

    def may_be_alive(self, session_id: str) -> bool:
        """Return True if a call of `others` or `take` has found this session open."""
        return session_id in self._known

    def has(self, name: str) -> bool:
        """Return True if this process has leased or announced `name`."""
        return name in self._leased

    def check(self) -> None:
        """Raise `LeaseLost` if others may have taken over; ask the store only if that is uncertain."""
        if self._is_lost or self._is_uncertain():
            last = self._last_try
            with self._lock:
                if self._is_lost or self._is_uncertain():
                    if self._failure and self._last_try != last:
                        raise self._failure  # Another thread has tried in the meantime.
                    self._renew()

    def check_briefly(self) -> None:
        """Like `check`, but wait only a few seconds, and only if the store has not answered for long."""
        last, now = self._asked, boot_seconds()
        if self._is_late() and self._waited_for != last:
            self._waited_for = last
            self._wake.set()
            with self._tried:
                self._tried.wait_for(lambda: self._asked >= now or not self._is_late(), min(_PAUSE, self._seconds))
        if self._is_lost:
            raise self._lost()

    def end(self) -> None:
        """Release all leases and end the session; if the store is unreachable, they expire."""
        self._is_over = True
        self._wake.set()
        if not self._lock.acquire(timeout=_PAUSE):
            return  # The thread is waiting for a response from the store.
        try:
            if not self._failure and not self._is_lost and not self._is_uncertain():
                with default_environment(FIRST_CONTACT), contextlib.suppress(Exception):
                    self._cells.end(self.id, "FINISHED")
        finally:
            self._failure = None  # The exception keeps the frames of its callers alive.
            self._lock.release()

    def _take(self, names: set[str]) -> None:
        with self._lock:
            sessions = self._read()
            won = names.difference(*(session.leased for key, session in sessions.items() if key != self.id))
            if self._is_lost:
                return
            if left := (sessions[self.id].leased & names) - won:  # A failed attempt left these.
                self._cells.write(sessions[self.id], left, FREE, self._keep_alive)
            own = won
            for key in sorted(sessions) if won else ():
                won = self._cells.write(sessions[key], won, self.id, self._keep_alive)
                own = won if key == self.id else own
            numbers = sessions[self.id].cells
            self._leased |= {name: numbers.get(name, (0, ""))[0] + 1 for name in own}
            if lost := own - won:
                try:
                    self._write(lost, FREE)
                except BaseException:
                    self._leased = {name: number for name, number in self._leased.items() if name not in lost}
                    raise

    def _write(self, names: Collection[str], value: str) -> None:
        """Write to cells of this session that no other process competes for."""
        with self._lock:
            session = Session(self.id, {}, {name: (self._leased.get(name, 0), "") for name in names})
            self._cells.write(session, names, value, self._keep_alive)
            for name in names:
                self._leased[name] = self._leased.get(name, 0) + 1
                if value == FREE:
                    del self._leased[name]

    def _beat(self) -> None:
        while not self._is_over and not self._is_lost:
            self._wake.wait(self._seconds / _BEATS)
            self._wake.clear()
            if self._is_over:
                return
            with contextlib.suppress(Exception), self._lock:  # The next one may succeed.
                self._renew()

    def _keep_alive(self) -> None:
        """Do the thread's work if it is due, while it has to wait for the lock."""
        if boot_seconds() - self._last_try > self._seconds / _BEATS and not self._is_over:
            self._renew()

    def _renew(self) -> None:
        """Update the heartbeat, then check that the session had not been ended before that."""
        start = boot_seconds()
        try:
            if not self._is_lost:
                self._cells.show_heartbeat(self.id, next(self._beats))
                self._read()
            self._failure = None
        except Exception as error:
            self._failure = error
            raise
        finally:
            with self._tried:
                self._asked, self._last_try = start, boot_seconds()
                self._tried.notify_all()
        if self._is_lost:
            raise self._lost()
        self._renewed = start

    def _read(self) -> dict[str, Session]:
        """Return the sessions of live processes by id, after ending those of dead ones."""
        with self._lock:
            found = self._cells.sessions()
            now = boot_seconds()
            if now - self._last_read > self._seconds / 2:
                self._heartbeats.clear()  # The store may have been unreachable to others as well.
            self._last_read = now
            alive = {key: session for key, session in found.items() if key == self.id or self._is_alive(session, now)}
            for session in [found[key] for key in found.keys() - alive.keys()]:
                with contextlib.suppress(MlflowException):
                    if self._end(session, alive.values()):
                        continue
                alive[session.id] = session
            self._known |= alive.keys()
            if not self._is_over and not self._is_lost and (self.id not in alive or alive[self.id].is_closed):
                self._is_removed = self.id not in alive and self._cells.was_removed(self.id)
                self._is_lost = True
            return alive

    def _is_alive(self, session: Session, now: float) -> bool:
        heartbeat, since = self._heartbeats.get(session.id, ("", now))
        since = since if heartbeat == session.heartbeat else now
        self._heartbeats[session.id] = session.heartbeat, since
        return session.id not in self._closed and now - since < session.seconds and not self._has_ended(session.tags)

    def _end(self, session: Session, others: Iterable[Session]) -> bool:
        """End the session of a dead process, and its runs, except those that others have announced.

        If it is alive after all, it may not know yet that its session was closed; then, return False and end it later.
        """
        if session.id not in self._closed:
            self._cells.close(session.id)
            self._closed[session.id] = boot_seconds() + (session.seconds / 2 if self._cells.has_moved(session) else 0)
        if boot_seconds() < self._closed[session.id]:
            return False
        self._cells.end_runs(session.id, {name for other in others for name in other.leased})
        self._cells.end(session.id, "KILLED")
        return True

    def _patiently(self, call: Callable[[], _Result], wait: float | None = None) -> _Result:
        """Return the result of `call`; retry it while the store is unreachable, but not if the store refuses it."""
        seconds = self._wait if wait is None else wait
        retrying = Retrying(
            retry=retry_if_exception(lambda error: is_unreachable(error) and not cannot_write(error)),
            stop=stop_after_delay(seconds),
            wait=wait_exponential(multiplier=0.2, max=15),
            before_sleep=lambda state: self._say_waiting(state, seconds),
            reraise=True,
        )
        try:
            result = retrying(call)
        except Exception as error:
            if not is_unreachable(error):
                raise
            sentence = f"the tracking store {self._uri} is unreachable ({reason(error)}). Repeat the command later."
            raise StoreUnreachable(sentence) from error
        self._is_waiting = False
        return result

    def _say_waiting(self, state: RetryCallState, seconds: float) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error and not self._is_waiting:
            self._is_waiting = True
            self._say(f"store:  the tracking store is unreachable ({reason(error)}); waiting up to {seconds:.0f} s")

    def _is_late(self) -> bool:
        """Return True if the last request to end began long ago; its answer may be from before a suspension."""
        return boot_seconds() - self._asked > self._seconds / 2

    def _is_uncertain(self) -> bool:
        return boot_seconds() - self._renewed > self._seconds / 2

    def _lost(self) -> LeaseLost:
        cause = f"This process has not reached the tracking server for {self._seconds:g} s (tracking.lease_seconds)"
        if self._is_removed:
            cause = f"Its run `leases of {self._host}` was deleted or ended on the tracking server"
        return LeaseLost(
            f"{cause}, so other processes may now train its runs. Repeat the command to wait for the results."
        )
