"""Leases in a store: each name has one owner, even after a process has died."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import requests
from mlflow.entities import Param, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.tracking import MlflowClient

from harness.tracking.lease_cells import FREE, LEASE, LeaseCells
from harness.tracking.lease_session import LeaseSession
from harness.tracking.outbox import LeaseLost, StoreUnreachable
from harness.tracking.store import open_store
from harness.tracking.stored_points import StoredPoints

NAMES = {f"1/{number:016x}" for number in range(5)}
LONG = 600.0
"""More seconds than any test takes."""

Start = Callable[..., LeaseSession]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return open_store(uri, "first")[0]


@pytest.fixture
def experiment(uri: str, request: pytest.FixtureRequest) -> str:
    """The id of an experiment for one test."""
    return open_store(uri, request.node.name)[1]


@pytest.fixture
def cells(client: MlflowClient, experiment: str) -> LeaseCells:
    return LeaseCells(client, experiment)


@pytest.fixture
def start(client: MlflowClient, experiment: str) -> Iterator[Start]:
    """Start a session, by default through MlflowClient; it ends with the test."""
    with ExitStack() as opened:

        def run(seconds: float = LONG, via: Any = client, wait: float = 30, **options: Any) -> LeaseSession:
            session = LeaseSession(via, experiment, seconds, tags={"host": "one"}, wait=wait, **options)
            opened.callback(session.end)
            return session

        yield run


def running(client: MlflowClient, experiment: str) -> list[str]:
    return [record.info.run_id for record in client.search_runs([experiment], f"tags.kind = '{LEASE}'")]


def test_each_name_has_one_owner(client: MlflowClient, experiment: str, start: Start) -> None:
    """Processes that start at the same time, some of which want only some of the names."""
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
    # Names that no process won can be leased now, and so can released ones.
    (first, own), (second, _) = taken[:2]
    first.drop(own)
    assert second.take(own) == own
    assert first.take(own) == set()
    for session, _ in taken:
        session.end()
    assert running(client, experiment) == []


def test_some_of_many_names_may_be_leased_already(cells: LeaseCells) -> None:
    """Each request is rejected as a whole, so the other names are written again."""
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


def test_a_dead_process_loses_its_leases(
    client: MlflowClient, experiment: str, cells: LeaseCells, start: Start
) -> None:
    dead = cells.start({"host": "two"}, 1)  # Without the thread that updates the heartbeat.
    cells.write(cells.sessions()[dead], NAMES, dead)
    runs = [client.create_run(experiment, tags={LEASE: dead}).info.run_id for _ in range(2)]
    one, other = start(), start()
    other.announce(f"{experiment}/{runs[1]}")
    assert one.may_be_alive(dead) is False
    begin = time.monotonic()
    while not (taken := one.take(NAMES)):
        time.sleep(0.1)
    assert taken == NAMES
    assert 1 <= time.monotonic() - begin < LONG / 2
    assert other.take(NAMES) == set()
    assert client.get_run(dead).info.status == "KILLED"
    assert [client.get_run(run_id).info.status for run_id in runs] == ["KILLED", "RUNNING"]
    assert set(running(client, experiment)) == {one.id, other.id}


def test_a_process_that_is_known_to_have_ended_is_not_waited_for(cells: LeaseCells, start: Start) -> None:
    dead = cells.start({"process": "7"}, LONG)
    cells.write(cells.sessions()[dead], NAMES, dead)
    assert start(has_ended=lambda tags: False).take(NAMES) == set()
    assert start(has_ended=lambda tags: tags.get("process") == "7").take(NAMES) == NAMES


def test_a_process_that_was_taken_for_dead_has_lost_its_leases(
    client: MlflowClient, experiment: str, cells: LeaseCells, start: Start
) -> None:
    zombie, other = start(seconds=1), start()
    assert zombie.take(NAMES) == NAMES
    time.sleep(0.7)
    zombie.check()  # The thread has updated the heartbeat in the meantime.
    cells.close(zombie.id)
    assert other.take(NAMES) == set()
    time.sleep(1)  # It reads at least one of its own heartbeats.
    for write in (zombie.check, zombie.check_briefly, lambda: zombie.take(NAMES)):
        with pytest.raises(LeaseLost, match=r"has not reached the tracking server for 1 s"):
            write()
    cells.end(zombie.id, "KILLED")
    assert other.take(NAMES) == NAMES
    deleted = client.search_runs([experiment], "", ViewType.DELETED_ONLY)
    assert "KILLED" in {record.info.status for record in deleted}


class LateClient:
    """MLflow's client, but answers to `search_runs` may be held back, as if the process were suspended meanwhile."""

    def __init__(self, client: MlflowClient) -> None:
        self._client, self.is_slow, self.is_waiting = client, threading.Event(), threading.Event()
        self.arrive = threading.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def search_runs(self, *words: object, **options: object) -> object:
        answer = self._client.search_runs(*words, **options)
        if self.is_slow.is_set():
            self.is_slow.clear()
            self.is_waiting.set()
            assert self.arrive.wait(10)
        return answer


def test_an_answer_from_before_a_suspension_proves_nothing(
    client: MlflowClient, cells: LeaseCells, start: Start
) -> None:
    late = LateClient(client)
    zombie = start(seconds=1, via=late)
    zombie.take(NAMES)
    late.is_slow.set()
    assert late.is_waiting.wait(10)
    cells.close(zombie.id)
    time.sleep(1)
    threading.Timer(0.2, late.arrive.set).start()
    with pytest.raises(LeaseLost):
        zombie.check_briefly()


def test_a_late_failure_does_not_undo_what_another_process_has_finished(
    client: MlflowClient, experiment: str, uri: str
) -> None:
    finished, running = (client.create_run(experiment).info.run_id for _ in range(2))
    client.set_terminated(finished)
    ends = [
        {"kind": "end", "run": run_id, "status": status, "ms": 1}
        for run_id in (finished, running, "missing")
        for status in ("KILLED", "FINISHED")
    ]
    stored = StoredPoints(client, uri)
    stored.read(iter(ends))
    assert stored.without(ends) == ends[1:]


def test_leftovers_do_not_disturb_a_process_on_another_machine(
    client: MlflowClient, experiment: str, cells: LeaseCells, uri: str
) -> None:
    there, here, over = (cells.start({"host": host}, LONG) for host in ("two", socket.gethostname(), "two"))
    cells.end(over, "KILLED")
    runs = [client.create_run(experiment, tags={LEASE: lease}).info.run_id for lease in (there, here, over)]
    ended = client.create_run(experiment, tags={LEASE: there}).info.run_id
    client.set_terminated(ended, "KILLED")
    records = [
        record
        for run_id in (*runs, ended)
        for record in (
            {"kind": "tags", "run": run_id, "values": {"a": "b"}},
            {"kind": "metrics", "run": run_id, "values": {"loss": 1.0}, "step": 1, "ms": 1},
            {"kind": "curve", "run": run_id, "key": "curve", "points": [(1, 1.0)], "ms": 1},
            {"kind": "end", "run": run_id, "status": "KILLED", "ms": 1},
        )
    ]
    stored = StoredPoints(client, uri)
    stored.read(iter(records))
    assert stored.without(records) == [records[0], *records[4:]]


class Flaky:
    """A client whose method `name` fails if `fails` returns True for its arguments."""

    def __init__(self, client: MlflowClient, name: str, fails: Callable[..., Exception | None]) -> None:
        self._client, self._name, self._fails = client, name, fails

    def __getattr__(self, name: str) -> object:
        method = getattr(self._client, name)
        if name != self._name:
            return method

        def call(*values: object, **named: object) -> object:
            if error := self._fails(*values, **named):
                raise error
            return method(*values, **named)

        return call


def outage() -> Exception:
    return requests.exceptions.ConnectionError("refused")


def test_a_lease_that_was_lost_to_another_process_is_not_kept_by_an_outage(
    client: MlflowClient, cells: LeaseCells, start: Start
) -> None:
    """The store fails when the process frees the cells in its own session again."""
    failures = [outage()]

    def fails(run_id: str, params: list[Param]) -> Exception | None:
        return failures.pop() if failures and params[0].value == FREE else None

    session = start(via=Flaky(client, "log_batch", fails))
    while (other := cells.start({}, LONG)) < session.id:  # Its cells would be written first.
        cells.end(other, "FINISHED")
    as_read = cells.sessions()[other]
    assert cells.write(as_read, NAMES, other) == NAMES
    read = session._cells.sessions

    def once() -> dict:
        session._cells.sessions = read
        return {**read(), other: as_read}

    session._cells.sessions = once  # As if the other process had not written yet.
    assert session.take(NAMES) == set()
    assert failures == []
    assert not any(map(session.has, NAMES))
    assert session.others() == NAMES
    assert cells.sessions()[session.id].leased == set()
    cells.end(other, "FINISHED")
    assert session.take(NAMES) == NAMES


def test_two_large_sweeps_that_start_together_both_get_an_answer(
    client: MlflowClient, experiment: str, cells: LeaseCells
) -> None:
    """Before each request of one process, the other one writes one of its params."""
    session_id = cells.start({}, LONG)
    session = cells.sessions()[session_id]
    names = [f"1/{number:016x}" for number in range(1200)]
    rest = iter(names[::100])

    def overtake(run_id: str, params: list[Param]) -> None:
        with suppress(StopIteration):
            client.log_batch(run_id, params=[Param(f"{next(rest)}/1", "other")])

    slow = LeaseCells(Flaky(client, "log_batch", overtake), experiment)
    assert slow.write(session, names, "own") == {*names} - {*names[::100]}
    client.delete_run(session_id)


def test_a_closed_session_is_ended_later_if_its_process_is_alive(
    client: MlflowClient, cells: LeaseCells, start: Start
) -> None:
    """Its heartbeat stops for a while, but resumes when its session is closed; no machine is suspended."""
    slow = cells.start({"host": "two"}, 4)
    cells.write(cells.sessions()[slow], NAMES, slow)
    one = start()
    one._cells.has_moved = lambda session: True
    assert one.take(NAMES) == set()
    time.sleep(4)
    begin = time.monotonic()
    assert one.take(NAMES) == set()
    assert time.monotonic() - begin < 1.9
    assert client.get_run(slow).info.status == "SCHEDULED"
    cells.show_heartbeat(slow, 7)
    time.sleep(2)
    assert one.take(NAMES) == NAMES
    assert client.get_run(slow).info.status == "KILLED"


def test_a_refusal_is_not_waited_for_and_an_outage_is_reported_once(client: MlflowClient, start: Start) -> None:
    errors: list[Exception] = []
    flaky = Flaky(client, "search_runs", lambda *_, **__: errors.pop() if errors else None)
    said: list[str] = []
    session = start(via=flaky, wait=LONG, say=said.append)
    errors += [outage(), outage()]
    assert session.take(NAMES) == NAMES
    assert said == ["store:  the tracking store is unreachable (refused); waiting up to 600 s"]
    refusal = MlflowException("no", error_code=PERMISSION_DENIED)
    assert refusal.get_http_status_code() == 403
    errors += [refusal]
    with pytest.raises(StoreUnreachable, match="does not have permission"):
        session.others()
    assert len(said) == 1


def test_threads_that_wait_for_an_answer_do_not_all_ask_again(client: MlflowClient, start: Start) -> None:
    asked: list[str] = []

    def fails(session_id: str, *_: str) -> Exception | None:
        asked.append(session_id)
        time.sleep(0.5)
        return outage()

    session = start(via=Flaky(client, "set_tag", fails), wait=LONG)
    session._renewed -= LONG

    def check(_: int) -> type:
        with pytest.raises(requests.exceptions.ConnectionError) as raised:
            session.check()
        return raised.type

    with ThreadPoolExecutor(8) as pool:
        assert len([*pool.map(check, range(8))]) == 8
    assert len(asked) == 1
    client.delete_run(session.id)


def test_a_session_that_was_deleted_by_hand(client: MlflowClient, start: Start) -> None:
    session = start()
    client.delete_run(session.id)
    with pytest.raises(LeaseLost, match=r"^Its run `leases of one` was deleted or ended on the tracking server, so"):
        session.take(NAMES)


def test_the_thread_ends_with_the_session(start: Start) -> None:
    """The thread ends even if `end` sets the event just after the thread has stopped waiting for it."""
    session = start()

    def late(seconds: float) -> bool:
        time.sleep(0.01)
        return False

    session._wake.wait = late
    session._wake.set()
    time.sleep(0.1)
    assert any(thread.name == "leases" for thread in threading.enumerate())
    session.end()
    deadline = time.monotonic() + 5
    while any(thread.name == "leases" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
