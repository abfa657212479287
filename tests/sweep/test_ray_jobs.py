"""The Ray launcher against a fake `ray` module."""

from __future__ import annotations

import os
import sys
import time
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


class FakeRay:
    """The part of Ray that is used here."""

    def __init__(self) -> None:
        self.exceptions = SimpleNamespace(RayError=Error)
        self.util = SimpleNamespace(list_named_actors=lambda: self.names)
        self.names, self.created, self.killed = list[str](), list[dict[str, Any]](), list[str]()
        self.death = "The actor died.\n\tpid: 7\nIts worker was killed"
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
            self.names.append(given["name"])
            return SimpleNamespace(remote=lambda *values: self._create(given, values))

        return SimpleNamespace(options=options)

    def _create(self, given: dict[str, Any], values: tuple) -> Any:
        self.created.append(given | {"values": values})
        return self._handle(given["name"])

    @staticmethod
    def _handle(name: str) -> Any:
        return SimpleNamespace(name=name, __ray_ready__=SimpleNamespace(remote=lambda: name))

    def get(self, reference: str, timeout: float) -> None:
        raise Error(self.death)

    def get_actor(self, name: str) -> Any:
        if name not in self.names:
            raise ValueError(name)
        return self._handle(name)

    def kill(self, actor: Any) -> None:
        self.killed.append(actor.name)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    for name in ("RAY_DEDUP_LOGS_SKIP_REGEX", "RAY_BACKEND_LOG_LEVEL"):
        monkeypatch.setenv(name, "own")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "7")
    monkeypatch.setenv("SOME_TOKEN", "token")
    return fake


def test_a_detached_actor_for_each_task(ray: FakeRay, tmp_path: Path) -> None:
    cluster = Ray(RayConfig(address="host:6379", cpus_per_task=2), ["--trust"])
    assert (ray.connected["address"], cluster.size()) == ("host:6379", 2)
    files = [TaskFiles.numbered(tmp_path, number) for number in (1, 2)]
    jobs = {task.number: job for task, job in cluster.submit(files, tmp_path / "logs")}
    assert [each["lifetime"] for each in ray.created] == ["detached", "detached"]
    order, log, options, environment = ray.created[1]["values"]
    assert (order, log, options) == (str(files[1].order), jobs[2].log, ["--trust"])
    assert environment["SOME_TOKEN"] == "token"
    assert environment["HARNESS_CORES"] == "2"
    assert not [name for name in environment if name.startswith(("RAY_", "SLURM_"))]
    Path(jobs[1].log).touch()
    assert cluster.alive(jobs) == {1: "running", 2: "pending"}
    cluster.stop(jobs | {3: Job("gone", f"{tmp_path}/logs/gone.log")})
    assert ray.killed == [jobs[2].id]
    assert stop_file(jobs[1].log).exists()
    cluster.stop(jobs, kill=True)
    assert ray.killed == [jobs[2].id, jobs[1].id, jobs[2].id]
    ray.util.list_named_actors = lambda: 1 / 0
    assert cluster.alive(jobs) == {1: "unknown", 2: "unknown"}


@pytest.mark.parametrize("has_new_driver", [False, True])
@pytest.mark.parametrize(
    ("death", "exits"), [("Its worker was killed", []), ("The actor died because its node has died.", [TRY_AGAIN])]
)
def test_why_an_actor_has_died(
    death: str, exits: list[int], has_new_driver: bool, ray: FakeRay, tmp_path: Path
) -> None:
    cluster, task, ray.death = Ray(RayConfig()), TaskFiles.numbered(tmp_path, 1), f"It died.\n\tpid: 7\n{death}"
    task.order.touch()
    ((_, job),) = cluster.submit([task], tmp_path / "logs")
    if has_new_driver:
        cluster = Ray(RayConfig())
        assert cluster.alive({1: job}) == {1: "pending"}
    ray.names.clear()
    for _ in range(2):  # It is written once.
        assert cluster.alive({1: job}) == {}
    assert task.exits() == exits
    assert Path(job.log).read_text() == f"harness: Ray: It died. {death}\n"
    assert reason(0, job.log).startswith(f"Ray: It died. {death.rstrip('.')} (log: ")


def test_a_worker_can_be_stopped_after_its_folder_could_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, killed = iter([OSError("stale file handle"), [], ["1.stop"]]), list[int]()

    def listing(folder: Path) -> list[str]:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(os, "listdir", listing)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))
    ray_task._await_stop(tmp_path / "1.stop")
    assert killed == [os.getpid()]


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
    with pytest.raises(ConfigError, match=r"cpus_per_task: no node of the Ray cluster has 4 cores\.$"):
        Ray(RayConfig(cpus_per_task=4))
    ray.cores = 0.5
    with pytest.raises(ConfigError, match=r"has 1 core\.$"):
        Ray(RayConfig())
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"^hydra/launcher=ray needs Ray\. .*pip install 'harness\[ray\]'$"):
        Ray(RayConfig())
