"""This process's leases in a tracking server, which keep processes on other machines from training the same runs.

Each process creates its session before it reads those of others, so of any two, one sees the other's. To lease a name,
a process writes to the name's cell in all sessions that it sees, including its own, ordered by id, and has to succeed
in all. Whoever has written the last value of the name's cell in its own session has leased it.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from harness.runtime.environment import default_environment
from harness.tracking.lease_cells import FREE, LeaseCells, Session
from harness.tracking.outbox import LeaseLost
from harness.tracking.store import FIRST_CONTACT
from harness.tracking.store_errors import is_unreachable

_BEATS = 6
"""Number of heartbeats in the time after which a process without any is considered dead."""

_PAUSE = 5.0
"""Maximum seconds to wait for the thread, both after this process was suspended and in `end`."""

_Result = TypeVar("_Result")


class LeaseSession:
    """This process's session; a thread shows that the process is alive until `end`.

    A process is considered dead when its heartbeat has not changed for `seconds`, by the clock of another process that
    could read it all the time. Its session is then ended, for good. A process writes only if it has, in the last half
    of that time, shown a heartbeat and afterwards found that its session had not been ended.

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
    ) -> None:
        """Start the session.

        Args:
            client: Of the store.
            experiment_id: The experiment whose runs may be leased.
            seconds: Seconds without a heartbeat after which this process is considered dead.
            tags: Tags by which this process can be recognized.
            has_ended: Whether a process with these tags is known to have ended.
            wait: Seconds to wait for an unreachable store.
        """
        self._cells, self._seconds, self._wait = LeaseCells(client, experiment_id), seconds, wait
        self._has_ended = has_ended
        self._lock, self._tried = threading.RLock(), threading.Condition()
        self._wake, self._is_over, self._is_lost = threading.Event(), False, False
        self._renewed = self._last_try = self._last_read = _clock()
        self._waited_for, self._is_reachable = 0.0, True
        self._leased: dict[str, int] = {}  # By name: the number of the last value in this session's cell.
        self._known: set[str] = set()
        self._heartbeats: dict[str, tuple[str, float]] = {}  # By session: the last one, and when it was first read.
        self._beats = itertools.count(1)
        self.id = self._cells.start(tags, seconds)
        threading.Thread(target=self._beat, name="leases", daemon=True).start()

    def take(self, names: Iterable[str]) -> set[str]:
        """Lease those of the `names` that no other process has leased, and return all that are leased now.

        Raises:
            LeaseLost: This session was ended.
        """
        names = set(names)
        self._patiently(lambda: self._take(names - self._leased.keys()))
        self.check()
        return names & self._leased.keys()

    def announce(self, name: str) -> None:
        """Let other processes find `name` in `others`, even if one of them has announced it, too."""
        if name not in self._leased:
            self._patiently(lambda: self._write({name}, self.id))

    def drop(self, names: Iterable[str]) -> None:
        """Release the leases on `names`."""
        if dropped := self._leased.keys() & set(names):
            self._patiently(lambda: self._write(dropped, FREE))

    def others(self) -> set[str]:
        """Return the names that other live processes have leased or announced."""
        sessions = self._patiently(self._read)
        return {name for key, session in sessions.items() if key != self.id for name in session.leased}

    def may_be_alive(self, session_id: str) -> bool:
        """Return True if a session had not ended at any of the times that `others` or `take` was called."""
        return session_id in self._known

    def has(self, name: str) -> bool:
        """Return True if this process has leased or announced `name`."""
        return name in self._leased

    def check(self) -> None:
        """Raise `LeaseLost` if others may have taken over; asks the store only if that is not certain."""
        if self._is_lost or self._is_uncertain():
            with self._lock:
                if self._is_lost or self._is_uncertain():
                    self._renew()

    def check_briefly(self) -> None:
        """Like `check`, but wait only a few seconds for the store, and only after this process was suspended."""
        last = self._last_try
        if _clock() - last > self._seconds / 2 and self._waited_for != last:
            self._waited_for = last
            self._wake.set()
            with self._tried:
                self._tried.wait_for(lambda: self._last_try != last, min(_PAUSE, self._seconds))
        if self._is_lost:
            raise self._lost()

    def end(self) -> None:
        """Release all leases and end the session; if the store is unreachable, they expire."""
        self._is_over = True
        self._wake.set()
        if not self._lock.acquire(timeout=_PAUSE):
            return  # The thread is waiting for an answer of the store.
        try:
            if self._is_reachable and not self._is_lost and not self._is_uncertain():
                with default_environment(FIRST_CONTACT), contextlib.suppress(Exception):
                    self._cells.end(self.id, "FINISHED")
        finally:
            self._lock.release()

    def _take(self, names: set[str]) -> None:
        with self._lock:
            sessions = self._read()
            won = names.difference(*(session.leased for key, session in sessions.items() if key != self.id))
            if not won or self._is_lost:
                return
            own = won
            for key in sorted(sessions):
                won = self._cells.write(sessions[key], won, self.id)
                own = won if key == self.id else own
            numbers = sessions[self.id].cells
            self._leased |= {name: numbers.get(name, (0, ""))[0] + 1 for name in own}
            if lost := own - won:
                self._write(lost, FREE)

    def _write(self, names: Collection[str], value: str) -> None:
        """Write to cells of this session that no other process competes for."""
        with self._lock:
            session = Session(self.id, {}, {name: (self._leased.get(name, 0), "") for name in names})
            self._cells.write(session, names, value)
            for name in names:
                self._leased[name] = self._leased.get(name, 0) + 1
                if value == FREE:
                    del self._leased[name]

    def _beat(self) -> None:
        while not (self._wake.wait(self._seconds / _BEATS) and self._is_over) and not self._is_lost:
            self._wake.clear()
            with contextlib.suppress(Exception), self._lock:  # The next one may succeed.
                self._renew()

    def _renew(self) -> None:
        """Show a heartbeat, then make sure that the session had not been ended before."""
        start = _clock()
        try:
            self._is_reachable = False
            if not self._is_lost:
                self._cells.show_heartbeat(self.id, next(self._beats))
                self._read()
            self._is_reachable = True
        finally:
            with self._tried:
                self._last_try = _clock()
                self._tried.notify_all()
        if self._is_lost:
            raise self._lost()
        self._renewed = start

    def _read(self) -> dict[str, Session]:
        """Return the sessions of live processes by id, after ending those of dead ones."""
        with self._lock:
            found = self._cells.sessions()
            now = _clock()
            if now - self._last_read > self._seconds / 2:
                self._heartbeats.clear()  # The store may have been unreachable to others as well.
            self._last_read = now
            alive = {key: session for key, session in found.items() if key == self.id or self._is_alive(session, now)}
            for session in [found[key] for key in found.keys() - alive.keys()]:
                try:
                    self._end(session, alive.values())
                except MlflowException:
                    alive[session.id] = session
            self._known |= alive.keys()
            self._is_lost |= not self._is_over and (self.id not in alive or alive[self.id].is_closed)
            return alive

    def _is_alive(self, session: Session, now: float) -> bool:
        heartbeat, since = self._heartbeats.get(session.id, ("", now))
        since = since if heartbeat == session.heartbeat else now
        self._heartbeats[session.id] = session.heartbeat, since
        return now - since < session.seconds and not self._has_ended(session.tags)

    def _end(self, session: Session, others: Iterable[Session]) -> None:
        """End the session of a dead process, and its runs, except those that others have announced."""
        self._cells.close(session.id)
        if self._cells.has_moved(session):
            time.sleep(session.seconds / 2)  # It is alive, and may not know yet that its session was closed.
        self._cells.end_runs(session.id, {name for other in others for name in other.leased})
        self._cells.end(session.id, "KILLED")

    def _patiently(self, call: Callable[[], _Result]) -> _Result:
        """Return the result of `call`, which is tried again while the store is unreachable."""
        retrying = Retrying(
            retry=retry_if_exception(is_unreachable),
            stop=stop_after_delay(self._wait),
            wait=wait_exponential(multiplier=0.2, max=15),
            reraise=True,
        )
        return retrying(call)

    def _is_uncertain(self) -> bool:
        return _clock() - self._renewed > self._seconds / 2

    def _lost(self) -> LeaseLost:
        return LeaseLost(
            f"This process has not reached the tracking server for {self._seconds:g} s (tracking.lease_seconds), so "
            "other processes may now train its runs. Repeat the command to wait for the results."
        )


def _clock() -> float:
    """Return seconds that also count while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
