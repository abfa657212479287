"""Leases in a store: each name has one owner, also after a process has died."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.tracking.lease_cells import FREE, LEASE, LeaseCells
from harness.tracking.lease_session import LeaseSession
from harness.tracking.outbox import LeaseLost
from harness.tracking.store import open_store
from harness.tracking.stored_points import StoredPoints

NAMES = {f"1/{number:016x}" for number in range(5)}
LONG = 600.0
"""Seconds that no test takes."""


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def client(uri: str, request: pytest.FixtureRequest) -> MlflowClient:
    client, self = open_store(uri, request.node.name)
    client.experiment = self  # type: ignore[attr-defined]
    return client


@pytest.fixture
def start(client: MlflowClient) -> Iterator[Callable[..., LeaseSession]]:
    with ExitStack() as opened:

        def run(seconds: float = LONG, **options: object) -> LeaseSession:
            tags = {"host": "one"}
            session = LeaseSession(client, client.experiment, seconds, tags=tags, wait=30, **options)  # type: ignore
            opened.callback(session.end)
            return session

        yield run


def running(client: MlflowClient) -> list[str]:
    found = client.search_runs([client.experiment], f"tags.kind = '{LEASE}'")  # type: ignore[attr-defined]
    return [record.info.run_id for record in found]


def test_each_name_has_one_owner(client: MlflowClient, start: Callable[..., LeaseSession]) -> None:
    """Processes that start at the same moment, some of which want only some of the names."""
    barrier = threading.Barrier(4)

    def lease(number: int) -> tuple[LeaseSession, set[str]]:
        barrier.wait()
        session = start()
        return session, session.take(sorted(NAMES)[number:])

    with ThreadPoolExecutor(4) as pool:
        taken = [*pool.map(lease, range(4))]
    owners = [name for _, names in taken for name in names]
    assert len(owners) == len(set(owners))
    for session, names in taken:
        assert session.others() == set(owners) - names
    # What nobody has won can be leased now, and what was dropped as well.
    (first, own), (second, _) = taken[:2]
    first.drop(own)
    assert second.take(own) == own
    assert first.take(own) == set()
    for session, _ in taken:
        session.end()
    assert running(client) == []


def test_some_of_many_names_may_be_leased_already(client: MlflowClient) -> None:
    """A request is refused as a whole, so the others are written again."""
    cells = LeaseCells(client, client.experiment)  # type: ignore[attr-defined]
    session_id = cells.start({}, 1)
    session = cells.sessions()[session_id]
    names = [f"1/{number:016x}" for number in range(250)]
    assert cells.write(session, names[120:130], "other") == {*names[120:130]}
    assert cells.write(session, names, "own") == {*names[:120], *names[130:]}
    now = cells.sessions()[session.id]
    assert (now.cells[names[0]], now.cells[names[120]]) == ((1, "own"), (1, "other"))
    assert cells.write(now, names, FREE) == {*names}
    with pytest.raises(MlflowException):
        cells.write(now, ["not/allowed?"], "own")


def test_a_dead_process_loses_its_leases(client: MlflowClient, start: Callable[..., LeaseSession]) -> None:
    cells = LeaseCells(client, client.experiment)  # type: ignore[attr-defined]
    dead = cells.start({"host": "two"}, 1)  # Without a thread that shows heartbeats.
    cells.write(cells.sessions()[dead], NAMES, dead)
    runs = [client.create_run(client.experiment, tags={LEASE: dead}).info.run_id for _ in range(2)]  # type: ignore
    one, other = start(), start()
    other.announce(f"{client.experiment}/{runs[1]}")  # type: ignore[attr-defined]
    assert one.may_be_alive(dead) is False
    begin = time.monotonic()
    while not (taken := one.take(NAMES)):
        assert one.others() >= NAMES
        time.sleep(0.1)
    assert taken == NAMES
    assert 1 <= time.monotonic() - begin < LONG / 2
    assert other.take(NAMES) == set()
    assert client.get_run(dead).info.status == "KILLED"
    assert [client.get_run(run_id).info.status for run_id in runs] == ["KILLED", "RUNNING"]
    assert set(running(client)) == {one.id, other.id}


def test_a_process_that_is_known_to_have_ended_is_not_waited_for(
    client: MlflowClient, start: Callable[..., LeaseSession]
) -> None:
    cells = LeaseCells(client, client.experiment)  # type: ignore[attr-defined]
    dead = cells.start({"process": "7"}, LONG)
    cells.write(cells.sessions()[dead], NAMES, dead)
    assert start(has_ended=lambda tags: False).take(NAMES) == set()
    assert start(has_ended=lambda tags: tags.get("process") == "7").take(NAMES) == NAMES


def test_a_process_that_was_taken_for_dead_has_lost_its_leases(
    client: MlflowClient, start: Callable[..., LeaseSession]
) -> None:
    with closing_session(start(seconds=1)) as zombie, closing_session(start()) as other:
        assert zombie.take(NAMES) == NAMES
        time.sleep(0.7)
        zombie.check()  # The thread has shown a heartbeat in the meantime.
        cells = LeaseCells(client, client.experiment)  # type: ignore[attr-defined]
        cells.close(zombie.id)
        assert other.take(NAMES) == set()
        time.sleep(1)  # It reads at least one heartbeat of its own.
        for write in (zombie.check, zombie.check_briefly, lambda: zombie.take(NAMES)):
            with pytest.raises(LeaseLost, match=r"has not reached the tracking server for 1 s"):
                write()
        cells.end(zombie.id, "KILLED")
        assert other.take(NAMES) == NAMES
    assert {record.info.status for record in client.search_runs([client.experiment], "", ViewType.DELETED_ONLY)} >= {  # type: ignore
        "KILLED"
    }


def closing_session(session: LeaseSession) -> closing:
    session.close = session.end  # type: ignore[attr-defined]
    return closing(session)  # type: ignore[type-var]


def test_a_late_failure_does_not_undo_what_another_process_has_finished(client: MlflowClient, uri: str) -> None:
    finished, running = (client.create_run(client.experiment).info.run_id for _ in range(2))  # type: ignore
    client.set_terminated(finished)
    ends = [
        {"kind": "end", "run": run_id, "status": status, "ms": 1}
        for run_id in (finished, running, "missing")
        for status in ("KILLED", "FINISHED")
    ]
    stored = StoredPoints(client, uri)
    stored.read(iter(ends))
    assert stored.without(ends) == ends[1:]
