"""The Ray launcher against a fake `ray` module."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.config.launchers import RayConfig
from harness.errors import ConfigError
from harness.sweep.tasks import ray_task
from harness.sweep.tasks.files import TRY_AGAIN, Job, TaskFiles, reason
from harness.sweep.tasks.ray import Ray
from harness.sweep.tasks.ray_task import stop_file


class Error(Exception):
    """Ray's own."""


class Call:
    """A call of an actor's method, which has returned a result, raised an error, or not ended."""

    def __init__(self) -> None:
        self.has_ended, self.error = False, ""

    def end(self, error: str = "") -> None:
        self.has_ended, self.error = True, error


class Actor:
    """An actor and its calls, the first of which ends once the actor has started."""

    def __init__(self, given: dict[str, Any], values: tuple) -> None:
        self.given, self.values, self.calls = given, values, list[Call]()
        self.tasks = list[tuple]()
        self.train = SimpleNamespace(remote=self._train)
        self.__ray_ready__ = SimpleNamespace(remote=self._call)

    def _call(self) -> Call:
        self.calls.append(Call())
        return self.calls[-1]

    def _train(self, *values: Any) -> Call:
        self.tasks.append(values)
        return self._call()


class FakeRay:
    """The part of Ray that is used here."""

    def __init__(self) -> None:
        self.exceptions = SimpleNamespace(RayError=Error)
        self.util = SimpleNamespace(list_named_actors=lambda: [*self.actors])
        self.actors, self.killed = dict[str, Actor](), list[Actor]()
        self.connected: dict[str, Any] = {}
        self.cores = 3.0

    def is_initialized(self) -> bool:
        return bool(self.connected)

    def init(self, **options: Any) -> None:
        if options["address"] == "nowhere:1":
            raise ConnectionError("Ray is not there.\nTry something else.")
        self.connected = options

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": alive, "Resources": {"CPU": self.cores}} for alive in (True, True, False)]

    def remote(self, actor: type) -> Any:
        def options(**given: Any) -> Any:
            return SimpleNamespace(remote=lambda *values: self.actors.setdefault(given["name"], Actor(given, values)))

        return SimpleNamespace(options=options)

    def wait(self, calls: list[Call], num_returns: int, timeout: float) -> tuple[list[Call], list[Call]]:
        assert (num_returns, timeout) == (len(calls), 0)
        return [call for call in calls if call.has_ended], [call for call in calls if not call.has_ended]

    def get(self, call: Call) -> None:
        if call.error:
            raise Error(call.error)

    def get_actor(self, name: str) -> Actor:
        if name not in self.actors:
            raise ValueError(name)
        return self.actors[name]

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)
        del self.actors[actor.given["name"]]

    def end(self, error: str = "") -> None:
        """End all calls, and the actors if there is an error."""
        for name, actor in [*self.actors.items()]:
            actor.calls[-1].end(error)
            if error:
                del self.actors[name]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    for name in ("RAY_DEDUP_LOGS_SKIP_REGEX", "RAY_BACKEND_LOG_LEVEL"):
        monkeypatch.setenv(name, "own")
    monkeypatch.setattr(socket, "create_connection", lambda *values: SimpleNamespace(close=lambda: None))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "7")
    monkeypatch.setenv("SOME_TOKEN", "token")
    return fake


def submitted(cluster: Ray, tasks: list[TaskFiles], folder: Path) -> dict[int, Job]:
    return {task.number: job for task, job in cluster.submit(tasks, folder / "logs")}


def test_actors_train_one_task_after_another(ray: FakeRay, tmp_path: Path) -> None:
    cluster = Ray(RayConfig(address="host:6379", cpus_per_task=2), ["--trust"])
    assert (ray.connected["address"], cluster.size()) == ("host:6379", 2)
    files = [TaskFiles.numbered(tmp_path, number) for number in (1, 2, 3)]
    for _ in range(2):  # The actors are starting.
        assert submitted(cluster, files[:2], tmp_path) == {}
    first, second = ray.actors.values()
    assert first.given["lifetime"] == "detached"
    (environment,) = first.values
    assert environment["SOME_TOKEN"] == "token"
    assert environment["HARNESS_CORES"] == "2"
    assert not [name for name in environment if name.startswith(("RAY_", "SLURM_"))]
    ray.end()
    assert cluster.alive({}) == {}
    jobs = submitted(cluster, files[:2], tmp_path)
    assert first.tasks == [(str(files[0].order), jobs[1].log, ["--trust"])]
    assert cluster.alive(jobs) == {1: "running", 2: "running"}
    first.calls[-1].end()
    assert cluster.alive(jobs) == {2: "running"}
    jobs |= submitted(cluster, files[2:], tmp_path)
    assert jobs[3].id == jobs[1].id
    assert jobs[3].log != jobs[1].log
    assert len(ray.actors) == 2
    cluster.stop(jobs)
    assert stop_file(jobs[2].log).exists()
    second.calls[-1].end()
    assert cluster.alive(jobs) == {3: "running"}
    cluster.close()
    assert ray.killed == [second]
    cluster.stop(jobs, kill=True)
    assert ray.killed == [second, first]
    ray.util.list_named_actors = lambda: 1 / 0
    assert cluster.alive(jobs) == dict.fromkeys(jobs, "unknown")


def test_idle_actors_are_ended(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Ray(RayConfig())
    submitted(cluster, [TaskFiles.numbered(tmp_path, 1)], tmp_path)
    ray.end()
    cluster.alive({})
    assert len(ray.actors) == 1
    monkeypatch.setattr("harness.sweep.tasks.ray.IDLE_SECONDS", -1)
    cluster.alive({})
    assert ray.actors == {}


def training(ray: FakeRay, folder: Path) -> tuple[Ray, TaskFiles, dict[int, Job]]:
    """Return a cluster with an actor that has started, and the task that it trains."""
    cluster, task = Ray(RayConfig()), TaskFiles.numbered(folder, 1)
    task.order.touch()
    submitted(cluster, [task], folder)
    ray.end()
    cluster.alive({})
    return cluster, task, submitted(cluster, [task], folder)


@pytest.mark.parametrize("has_new_driver", [False, True])
@pytest.mark.parametrize(
    ("death", "exits"), [("Its worker was killed", []), ("The actor died because its node has died.", [TRY_AGAIN])]
)
def test_why_an_actor_has_died(
    death: str, exits: list[int], has_new_driver: bool, ray: FakeRay, tmp_path: Path
) -> None:
    cluster, task, jobs = training(ray, tmp_path)
    if has_new_driver:
        cluster = Ray(RayConfig())
        assert cluster.alive(jobs) == {1: "running"}
    ray.end(f"It died.\n\tpid: 7\n{death}")
    for _ in range(2):  # It is written only once.
        assert cluster.alive(jobs) == {}
    assert task.exits() == exits
    log = jobs[1].log
    assert Path(log).read_text() == f"harness: Ray: It died. {death}\n"
    assert reason(0, log).startswith(f"Ray: It died. {death.rstrip('.')} (log: ")


def test_the_task_of_an_earlier_driver_has_ended(ray: FakeRay, tmp_path: Path) -> None:
    _, _, jobs = training(ray, tmp_path)
    cluster = Ray(RayConfig())
    assert cluster.alive(jobs) == {1: "running"}
    ray.end()
    assert cluster.alive(jobs) == {}
    assert ray.actors == {}  # It has the earlier driver's environment.


def test_actors_that_do_not_start(ray: FakeRay, tmp_path: Path) -> None:
    cluster, task = Ray(RayConfig()), TaskFiles.numbered(tmp_path, 1)
    for death in ("no harness", "its node has died", "no harness", "no harness"):
        submitted(cluster, [task], tmp_path)
        ray.end(death)
        cluster.alive({})
    with pytest.raises(ConfigError, match=r"^Ray: 3 workers in a row have failed to start \(no harness\)\.$"):
        submitted(cluster, [task], tmp_path)
    assert task.exits() == []


def test_a_task_leaves_no_trace_in_its_actor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, said = iter([0, 3, None]), list[list[str]]()

    def command(module: str, run_name: str) -> None:
        print("to its log", flush=True)
        os.write(2, b"and so do libraries\n")
        said.append(sys.argv)
        os.chdir(tmp_path / "other")
        os.environ |= {"OWN": "changed", "NEW": "new"}
        sys.path.append("other")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(next(codes))

    (tmp_path / "other").mkdir()
    monkeypatch.setenv("OWN", "own")
    monkeypatch.setattr(runpy, "run_module", command)
    monkeypatch.setattr(ray_task, "import_tensorflow", lambda: None)
    monkeypatch.setattr(threading, "Timer", lambda *values: SimpleNamespace(start=lambda: None, cancel=lambda: None))

    def state() -> tuple:
        files = [(found.st_dev, found.st_ino) for found in map(os.fstat, (1, 2))]
        process = dict(os.environ), Path.cwd(), signal.getsignal(signal.SIGTERM), files
        return *process, sys.argv, [*sys.path], sys.stdout, sys.stderr

    actor, task = ray_task.RayTasks({}), TaskFiles.numbered(tmp_path, 1)
    before, threads = state(), {*threading.enumerate()}
    for _ in range(3):
        with contextlib.suppress(SystemExit):
            actor.train(str(task.order), str(tmp_path / "log"), ["--trust"])
        assert state() == before
        assert {*threading.enumerate()} <= threads  # Those of other tests may end in the meantime.
    assert task.exits() == [3]
    assert said == [["harness", "work", "--trust", str(task.order)]] * 3
    assert (tmp_path / "log").read_text() == "to its log\nand so do libraries\n" * 3


def test_a_worker_can_be_stopped_after_its_folder_could_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, has_ended = iter([OSError("stale file handle"), [], ["1.stop"]]), threading.Event()

    def listing(folder: Path) -> list[str]:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def stop(pid: int, number: int) -> None:
        assert (pid, number) == (os.getpid(), signal.SIGTERM)
        has_ended.set()

    monkeypatch.setattr(os, "listdir", listing)
    monkeypatch.setattr(os, "kill", stop)
    monkeypatch.setattr(ray_task, "STOP_SECONDS", 0.01)
    with ray_task._stopped_by(tmp_path / "1.stop"):
        assert has_ended.wait(10)


def test_a_cluster_that_has_no_node_with_cores_yet(ray: FakeRay) -> None:
    ray.cores = 0.0
    assert Ray(RayConfig(cpus_per_task=4)).size() == 1


def test_what_is_refused(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"^hydra\.launcher\.address must be HOST:PORT, .* Received: ray://head:10001$"
    ):
        RayConfig(address="ray://head:10001")
    with pytest.raises(ConfigError, match=r"cannot connect to the Ray cluster nowhere:1 \(Ray is not there\)\.$"):
        Ray(RayConfig(address="nowhere:1"))
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"cluster 127\.0\.0\.1:1 \(.*[Cc]onnection refused\)\.$"):
        Ray(RayConfig(address="127.0.0.1:1"))
    with pytest.raises(ConfigError, match=r"cpus_per_task: no node in the Ray cluster has 4 cores\.$"):
        Ray(RayConfig(cpus_per_task=4))
    ray.cores = 0.5
    with pytest.raises(ConfigError, match=r"has 1 core\.$"):
        Ray(RayConfig())
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"^hydra/launcher=ray needs Ray\. .*pip install 'harness\[ray\]'$"):
        Ray(RayConfig())
