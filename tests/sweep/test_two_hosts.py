"""Two machines with one tracking server run the same sweep at the same time; one of them dies, or seems to.

Each has its own host name, home, `/var/tmp`, `TMPDIR` and cache, in namespaces of this machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from experiments.benchmark.servers import lacks_postgres, mlflow_server, postgres
from tests.sweep.folders import numbers_of

pytestmark = pytest.mark.slow

WORDS = ["train", "-m", "model=mlp", "data.rows=60000", "chunksize=full,100", "learning_rate=0.001,0.01", "epochs=100"]
RUNS = 4
SECONDS = 4
"""`tracking.lease_seconds`; these machines are sometimes slow."""

KEYS = ("train/loss", "val/loss", "train/chunk_loss", "time/train_s")
"""The metrics to read; all metrics are recorded by the same calls."""

FINISHED = f"another process has finished {RUNS} since"

START = 'hostname "$0" && mount -t tmpfs none /var/tmp && exec "$@"'

Numbers = Mapping[tuple[str | None, str], list[tuple[int, float]]]


class Host(NamedTuple):
    """A machine that trains the sweep, with the output of its command."""

    name: str
    folder: Path
    process: subprocess.Popen

    def code(self, seconds: float = 120) -> int:
        """Return the exit code of the command."""
        return self.process.wait(seconds)

    @property
    def checkpoints(self) -> dict[Path, int]:
        """When each file was written, except files that never replaced a checkpoint."""
        files = (self.folder / ".harness" / "checkpoints").glob("*/[!.]*")
        return {path: path.stat().st_mtime_ns for path in files}

    @property
    def output(self) -> str:
        return (self.folder / "log").read_text()


class Hosts:
    """Machines that use an experiment on the same server."""

    def __init__(self, uri: str, experiment: str, folder: Path, opened: contextlib.ExitStack) -> None:
        self._uri, self._name, self._folder, self._opened = uri, experiment, folder, opened
        self.client = MlflowClient(uri)

    def start(self, name: str) -> Host:
        folder = self._folder / name
        for path in (folder, folder / "tmp"):
            path.mkdir(exist_ok=True)
        words = [*WORDS, f"tracking.experiment={self._name}", f"tracking.lease_seconds={SECONDS}"]
        command = ["unshare", "--uts", "--mount", "sh", "-c", START, name, sys.executable, "-m", "harness", *words]
        own = {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "MLFLOW_TRACKING_URI": self._uri}
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=os.environ | own, stdout=log, stderr=log, start_new_session=True
            )
        self._opened.callback(_kill, process)
        return Host(name, folder, process)

    def records(self, kind: str, which: int = ViewType.ACTIVE_ONLY) -> list[Run]:
        experiment = self.client.get_experiment_by_name(self._name)
        ids = [experiment.experiment_id] if experiment else []
        return list(self.client.search_runs(ids, f"tags.kind = '{kind}'", which)) if ids else []

    def owner(self, hosts: list[Host]) -> tuple[Host, Host]:
        """Return the host that trains, once it has recorded something, and the other one, once it is waiting."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            found = [run for run in self.records("run") if run.data.metrics and run.info.status == "RUNNING"]
            for host, other in (hosts, hosts[::-1]):
                if found and found[0].data.tags["host"] == host.name and "waiting: another process" in other.output:
                    return host, other
            time.sleep(0.2)
        raise TimeoutError([host.output for host in hosts])

    def await_owner(self, host: Host) -> None:
        """Wait until a host has taken over the runs."""
        deadline = time.monotonic() + 90
        while {run.data.tags["host"] for run in self.records("run")} != {host.name}:
            assert time.monotonic() < deadline, host.output
            time.sleep(0.2)

    def numbers(self) -> Numbers:
        """Return all points of the runs, after checking that runs and steps occur only once."""
        records = self.records("run")
        assert Counter(record.info.status for record in records) == {"FINISHED": RUNS}
        assert len({record.data.tags["signature"] for record in records}) == RUNS
        assert [record.info.status for record in self.records("sweep")] == ["FINISHED"]
        assert self.records("lease") == []
        return numbers_of(self.client, records, KEYS)


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if lacking := lacks_postgres():
        pytest.skip(lacking)
    try:
        subprocess.run(["unshare", "--uts", "--mount", "sh", "-c", START, "name", "true"], check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this user may not create namespaces with unshare")
    with (
        postgres(is_durable=False) as database,
        mlflow_server(tmp_path_factory.mktemp("server"), database, workers=1) as uri,
    ):
        yield uri


@pytest.fixture
def hosts(server: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    with contextlib.ExitStack() as opened:
        yield Hosts(server, request.node.name, tmp_path, opened)


@pytest.fixture(scope="module")
def undisturbed(server: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Numbers]:
    """The results of two machines that start at the same time."""
    with contextlib.ExitStack() as opened:
        hosts = Hosts(server, "undisturbed", tmp_path_factory.mktemp("undisturbed"), opened)
        both = [hosts.start("one"), hosts.start("two")]
        assert [host.code() for host in both] == [0, 0], [host.output for host in both]
        numbers = hosts.numbers()
        assert {record.data.tags["host"] for record in hosts.records("run")} <= {"one", "two"}
        assert len(hosts.records("run", ViewType.ALL)) == RUNS
        assert len(hosts.records("sweep", ViewType.ALL)) == 1
        waited = ["waiting: another process is training 4 of these runs" in host.output for host in both]
        assert sorted(waited) == [False, True], [host.output for host in both]
    return lambda: numbers


def test_a_machine_takes_over_what_another_one_has_not_finished(
    hosts: Hosts, undisturbed: Callable[[], Numbers]
) -> None:
    owner, other = hosts.owner([hosts.start("one"), hosts.start("two")])
    owner.process.kill()
    hosts.await_owner(other)
    again = hosts.start(owner.name)  # It has a checkpoint of what the other one is training.
    assert (other.code(), again.code()) == (0, 0), [other.output, again.output]
    assert FINISHED in again.output
    assert hosts.numbers() == undisturbed()
    assert {record.data.tags["host"] for record in hosts.records("run")} == {other.name}


def test_a_machine_that_wakes_up_writes_nothing(hosts: Hosts, undisturbed: Callable[[], Numbers]) -> None:
    owner, other = hosts.owner([hosts.start("one"), hosts.start("two")])
    owner.process.send_signal(signal.SIGSTOP)
    assert other.code() == 0, other.output
    before = [run.to_dictionary() for kind in ("run", "sweep") for run in hosts.records(kind)]
    checkpoints = owner.checkpoints
    assert hosts.numbers() == undisturbed()
    owner.process.send_signal(signal.SIGCONT)
    assert owner.code() == 1, owner.output
    said = f"This process has not reached the tracking server for {SECONDS} s (tracking.lease_seconds), so other"
    assert said in " ".join(owner.output.split())
    assert [run.to_dictionary() for kind in ("run", "sweep") for run in hosts.records(kind)] == before
    assert owner.checkpoints == checkpoints
    # The other machine has recorded what this one had not delivered.
    again = hosts.start(owner.name)
    assert again.code() == 0, again.output
    assert FINISHED in again.output
    after = [run.to_dictionary() for run in hosts.records("run")]
    assert after == before[:RUNS]
    assert hosts.numbers() == undisturbed()
