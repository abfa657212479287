"""Claims on runs that processes on all machines respect: in files, for this machine, and on a tracking server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from mlflow.entities import Run as Record
from mlflow.tracking import MlflowClient

from harness.config import TrackingConfig
from harness.sweep.run_locks import RunLocks
from harness.tracking.lease_cells import LEASE
from harness.tracking.lease_session import LeaseSession

_PROCESS = "process"
"""Tag of a session: the name of the process's claims, by which its own machine can tell whether it is alive."""

_POLL_SECONDS = 0.2
_PATIENCE = 2.0
"""Seconds after which a process reports that it is waiting for another one."""


class Leases(RunLocks):
    """This process's claims on runs of an experiment on a tracking server.

    Attributes:
        session: The session that holds them in the store.
    """

    def __init__(
        self,
        folder: Path,
        client: MlflowClient,
        experiment_id: str,
        config: TrackingConfig,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Create the folder for this machine's claims if it does not exist, and a session; claim nothing.

        `say` is called with a message when this process waits for an unreachable store.

        Raises:
            ConfigError: The folder cannot be written to.
        """
        super().__init__(folder)
        tags = super().owner | {_PROCESS: self.process}
        self.session = LeaseSession(
            client,
            experiment_id,
            config.lease_seconds,
            tags=tags,
            has_ended=self._has_ended,
            wait=config.wait,
            say=say,
        )
        self._names: set[str] = set()

    def __exit__(self, *error: object) -> None:
        self.session.end()
        super().__exit__(*error)

    @property
    def owner(self) -> dict[str, str]:
        """The tags of runs that this process trains."""
        return super().owner | {LEASE: self.session.id}

    def take(self, names: Iterable[str]) -> set[str]:
        """Claim the `names` that no other process has claimed, and return them."""
        elsewhere = self.session.others()  # Before other processes on this machine have to wait.
        free = super().take(set(names) - elsewhere)
        won = self.reserve(free)
        super().drop(free - won)
        return won

    def reserve(self, names: Iterable[str]) -> set[str]:
        """Keep other machines from training the runs in `names`, and return those that no other machine is training."""
        won = self.session.take(names)
        self._names |= won
        return won

    def keep(self, name: str) -> None:
        """Claim `name` until this object is closed, even if another process has claimed it."""
        super().keep(name)
        self.session.announce(name)

    def drop(self, names: Iterable[str] | None = None) -> None:
        """Release the claims on `names`, or by default all claims."""
        dropped = set(self._names if names is None else names)
        self.session.drop(dropped)
        self._names -= dropped
        super().drop(None if names is None else dropped)

    def others(self) -> set[str]:
        """Return the claims of other live processes."""
        return super().others() | self.session.others()

    def knows(self, record: Record) -> bool:
        """Return True if the process that trains a run would be seen here if it were alive.

        `others` must have been called before and after reading the record, unless this process has claimed the run.
        """
        session_id, signature = (record.data.tags.get(key, "") for key in (LEASE, "signature"))
        if not session_id:
            return self._is_here(record.data.tags)
        name = f"{record.info.experiment_id}/{signature}"
        return self.session.has(name) or not self.session.may_be_alive(session_id)

    @contextlib.contextmanager
    def exclusive_for(self, name: str, say: Callable[[str], None]) -> Iterator[None]:
        """Like `exclusive`, but also make processes on other machines wait if they use the same `name`."""
        start, is_waiting = time.monotonic(), False
        while not self.session.take([name]):
            if not is_waiting and time.monotonic() - start > _PATIENCE:
                say("waiting: another process is starting the same sweep")
                is_waiting = True
            time.sleep(_POLL_SECONDS)
        try:
            with self.exclusive():
                yield
        except BaseException:
            with contextlib.suppress(Exception):
                self.session.drop([name], wait=0)
            raise
        self.session.drop([name])

    def _has_ended(self, tags: Mapping[str, str]) -> bool:
        return self._is_here(tags) and not self.is_alive(tags.get(_PROCESS, ""))
