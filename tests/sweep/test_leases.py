"""Claims of two machines, simulated by two folders for claims and one store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.config import TrackingConfig
from harness.sweep.claims import claim_of, is_abandoned
from harness.sweep.leases import Leases
from harness.tracking.store import open_store

A, B, C = (f"1/{letter * 16}" for letter in "abc")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    return open_store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db", "harness")[0]


@pytest.fixture
def client(store: MlflowClient) -> Iterator[MlflowClient]:
    """A client of the store; sessions end with the test."""
    yield store
    assert not store.search_runs(["1"], "tags.kind = 'lease'")


@pytest.fixture
def process(client: MlflowClient, tmp_path: Path) -> Iterator[Callable[[str], Leases]]:
    """Return the claims of a new process on a machine."""
    with ExitStack() as opened:

        def start(machine: str) -> Leases:
            return opened.enter_context(Leases(tmp_path / machine / "claims", client, "1", TrackingConfig(wait=30)))

        yield start


def test_two_machines_claim_different_runs(process: Callable[[str], Leases]) -> None:
    one, two = process("one"), process("two")
    assert one.take([A, B]) == {A, B}
    assert two.take([B, C]) == {C}
    assert (one.others(), two.others()) == ({C}, {A, B})
    one.drop(name for name in [A])  # A generator, as callers pass it.
    assert two.take([A, B]) == {A}
    assert process("one").take([A, B, C]) == set()
    one.keep("1/summary")
    one.drop()
    assert two.others() == {"1/summary"}
    with two.exclusive_for("1/sweep", print):
        assert one.session.take(["1/sweep"]) == set()
    assert one.session.take(["1/sweep"]) == {"1/sweep"}


def test_a_dead_process_of_the_same_machine_is_not_waited_for(
    process: Callable[[str], Leases], client: MlflowClient
) -> None:
    dead, other = process("one"), process("two")
    assert dead.take([A]) == {A}
    tags = {"kind": "run", "signature": "a" * 16, **dead.owner}
    run = client.create_run("1", tags=tags)
    assert not is_abandoned(run, other.others(), other)
    dead._alive.release()  # As the kernel does when a process dies.
    assert other.take([A]) == set()
    assert process("one").take([A]) == {A}
    assert client.get_run(run.info.run_id).info.status == "KILLED"
    assert client.get_run(dead.session.id).info.lifecycle_stage == "deleted"


def test_runs_of_processes_that_are_not_there_are_abandoned(
    process: Callable[[str], Leases], client: MlflowClient
) -> None:
    gone = process("one")
    run = client.create_run("1", tags={"kind": "run", "signature": "a" * 16, **gone.owner})
    unknown = client.create_run("1", tags={"kind": "run", "signature": "b" * 16, "host": "three", "claims": "there"})
    gone.session.end()
    other = process("two")
    claimed = other.others()
    assert is_abandoned(run, claimed, other)
    assert not is_abandoned(run, claimed | {claim_of("a" * 16, "1")}, other)
    assert not is_abandoned(unknown, claimed, other)


def test_other_processes_of_a_machine_do_not_wait_for_the_server(process: Callable[[str], Leases]) -> None:
    one, other = process("one"), process("one")
    asked = one.session.others

    def ask() -> set[str]:
        with other._everyone.acquire(timeout=1):
            return asked()

    one.session.others = ask
    assert one.take([A]) == {A}


def test_an_interrupted_start_does_not_wait_for_the_server(process: Callable[[str], Leases]) -> None:
    one = process("one")
    answer = one.session._cells.write

    def refuse(*_: object) -> None:
        raise ConnectionError

    def interrupt() -> None:
        with one.exclusive_for("1/sweep", print):
            one.session._cells.write = refuse
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    one.session._cells.write = answer
    assert one.session.has("1/sweep")
    with one.exclusive_for("1/sweep", print):
        pass
    assert not one.session.has("1/sweep")
