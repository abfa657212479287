"""Compare-and-set on a tracking server: lists of values, each of which can be written by only one process.

Each process that leases names has a session, a run of its own. A session has a cell for each name that was ever leased:
a list of params, `NAME/1`, `NAME/2` and so on, whose last value is a session's id, or `free`. MLflow sets a param only
once, so of all processes that write the same one, exactly one succeeds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from mlflow.entities import LifecycleStage, Param
from mlflow.entities import Run as Record
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.tracking.run_pages import all_runs, find_run
from harness.tracking.source_tags import source_tags
from harness.tracking.store_errors import is_unreachable

LEASE = "lease"
"""Kind of a session's run, and tag of all other runs that holds the id of their process's session."""

HEARTBEAT, SECONDS = "heartbeat", "lease_seconds"
"""Tags of a session: text that changes while its process is alive, and the maximum time between changes."""

FREE = "free"

_NOTE = "Keeps other machines from training the same runs. `harness train` removes it when it ends."
_PARAMS = 100
"""Maximum number of params that MLflow accepts per request."""

_ATTEMPTS = 5
"""Maximum number of requests refused in a row without another process having written anything."""

_CLOSED = "SCHEDULED"
"""Status of a session that is about to be ended; one that is alive is `RUNNING`."""


@dataclass(frozen=True)
class Session:
    """A session as it was read from the store.

    Attributes:
        cells: By name: the number of values that were written, and the last one.
        is_closed: Whether it is about to be ended.
    """

    id: str
    tags: Mapping[str, str]
    cells: Mapping[str, tuple[int, str]]
    is_closed: bool = False

    @property
    def leased(self) -> set[str]:
        """The names that its process has leased, or is about to."""
        return {name for name, (_, owner) in self.cells.items() if owner == self.id}

    @property
    def heartbeat(self) -> str:
        """The last heartbeat."""
        return self.tags.get(HEARTBEAT, "")

    @property
    def seconds(self) -> float:
        """Seconds without a heartbeat after which its process is considered dead."""
        with contextlib.suppress(ValueError):
            return float(self.tags.get(SECONDS, "inf"))
        return math.inf


class LeaseCells:
    """The sessions of the processes that train runs of an experiment."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client, self._experiment_id = client, experiment_id

    def start(self, tags: Mapping[str, str], seconds: float) -> str:
        """Start a session, and return its id."""
        own = {"kind": LEASE, "mlflow.note.content": _NOTE, HEARTBEAT: "0", SECONDS: f"{seconds:g}"}
        name = f"leases of {tags.get('host', 'a process')}"
        created = self._client.create_run(self._experiment_id, tags={**source_tags(), **tags, **own}, run_name=name)
        return created.info.run_id

    def sessions(self) -> dict[str, Session]:
        """Return the sessions that have not been ended, by id."""
        condition = f"tags.kind = '{LEASE}' AND attributes.status != 'FINISHED' AND attributes.status != 'KILLED'"
        return {record.info.run_id: _session_of(record) for record in self._search(condition)}

    def write(
        self, session: Session, names: Collection[str], value: str, before_each: Callable[[], object] = lambda: None
    ) -> set[str]:
        """Write the next value to cells of a session that was read before; return the names for which this succeeded.

        Returns all names if the session was deleted. `before_each` is called before each request that writes.
        """
        keys = {f"{name}/{session.cells.get(name, (0, ''))[0] + 1}": name for name in sorted(names)}
        written, attempts = set[str](), 0
        while keys:
            before_each()
            some = [*keys][:_PARAMS]
            try:
                self._client.log_batch(session.id, params=[Param(key, value) for key in some])
                written |= {keys.pop(key) for key in some}
                continue
            except MlflowException as error:
                if is_unreachable(error):
                    raise
                refusal = error
            # A request is refused as a whole if another process has written one of its params.
            record = self._client.get_run(session.id)
            if record.info.lifecycle_stage != LifecycleStage.ACTIVE:
                return {*names}
            stored = record.data.params
            left = {key: name for key, name in keys.items() if key not in stored}
            written |= {name for key, name in keys.items() if stored.get(key) == value}
            attempts += len(left) == len(keys)
            if attempts == _ATTEMPTS:
                raise refusal
            keys = left
        return written

    def show_heartbeat(self, session_id: str, number: int) -> None:
        """Update the heartbeat of a session, unless the session was deleted."""
        try:
            self._client.set_tag(session_id, HEARTBEAT, str(number))
        except MlflowException as error:
            if is_unreachable(error):
                raise

    def end(self, session_id: str, status: str) -> None:
        """End a session permanently, and delete it. If this user may not delete it, show it below one of its runs."""
        self._client.set_terminated(session_id, status)
        try:
            self._client.delete_run(session_id)
        except MlflowException:
            found = self._search(f"tags.{LEASE} = '{session_id}'")
            for record in sorted(found, key=lambda record: record.data.tags.get("kind") == "sweep")[-1:]:
                self._client.set_tag(session_id, "mlflow.parentRunId", record.info.run_id)

    def close(self, session_id: str) -> None:
        """Tell a process that its session is about to be ended."""
        self._client.update_run(session_id, _CLOSED)

    def has_moved(self, session: Session) -> bool:
        """Return True if the heartbeat of a session, which may be closed by now, has changed since it was read."""
        return _session_of(self._client.get_run(session.id)).heartbeat != session.heartbeat

    def was_removed(self, session_id: str) -> bool:
        """Return True unless another process has closed or ended a session."""
        session = find_run(self._client, session_id)
        return session is None or session.info.status not in (_CLOSED, "KILLED")

    def end_runs(self, session_id: str, spared: Collection[str]) -> None:
        """End the runs of a dead process, except those that others have announced in `spared`."""
        for record in self._search(f"tags.{LEASE} = '{session_id}' AND attributes.status = 'RUNNING'"):
            if f"{self._experiment_id}/{record.info.run_id}" not in spared:
                self._client.set_terminated(record.info.run_id, "KILLED")

    def _search(self, condition: str) -> list[Record]:
        return all_runs(self._client, [self._experiment_id], condition)


def _session_of(record: Record) -> Session:
    cells: dict[str, tuple[int, str]] = {}
    for key, value in record.data.params.items():
        name, _, number = key.rpartition("/")
        if number.isdecimal() and int(number) > cells.get(name, (0, ""))[0]:
            cells[name] = int(number), value
    return Session(record.info.run_id, record.data.tags, cells, record.info.status == _CLOSED)
