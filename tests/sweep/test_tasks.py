"""Sweeps divided into tasks give the results of a single process, whatever happens to workers.

All of them run in this process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from rich.console import Console

from harness.cli.work import work
from harness.config import Config, LogModel
from harness.data.tables.table import Table
from harness.errors import ConfigError
from harness.runtime.state_files import write_json
from harness.sweep.code_version import packages
from harness.sweep.display import Display
from harness.sweep.membership import Membership, Rules
from harness.sweep.plan import Run
from harness.sweep.run_fields import config_yaml
from harness.sweep.runner import Sweep
from harness.sweep.tasks import driver, supervisor, worker
from harness.sweep.tasks.attempts import Attempts
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.files import TRY_AGAIN, Job, Status, TaskFiles, TaskHeld
from harness.sweep.tasks.local_table import Passes, local_copy
from harness.sweep.tasks.order import (
    KIND,
    REFUSED,
    RunOrder,
    TaskRefused,
    configs_of,
    new_order,
    read_order,
    write_order,
)
from harness.sweep.tasks.partition import partition
from harness.sweep.tasks.view import TaskRow, progress_of, tasks_view
from harness.tracking.outbox import LeaseLost, StoreUnreachable
from harness.tracking.tracker import Tracker
from tests.sweep.folders import Folder, config

MEMBERSHIP = Membership("0" * 32, Rules([None, 0], True, None, ["a"]))


class Store(Folder):
    """A folder for sweeps of lanes that are tiles of their own."""

    def config(self, chunk: int | str, rate: float, epochs: int = 2, name: str | None = None) -> Config:  # type: ignore[override]
        model, runtime = {"_target_": "harness.models.mlp", "units": [2]}, {"lane_tile": 1, "time_alone": False}
        tracking = {"log_model": LogModel.best, "name": name}
        return config(
            self.path, chunk, rate, epochs, model=model, data={"test": 0.1}, runtime=runtime, tracking=tracking
        )


class Inside(Cluster):
    """A cluster whose workers run in this process, one after another; `fates` determines what happens to each."""

    name, is_remote, seconds = "this process", False, 0.0

    def __init__(self, *fates: str, tasks: int = 3) -> None:
        self.tasks, self._fates = tasks, itertools.chain(fates, itertools.repeat("works"))
        self.submitted: list[int] = []

    def size(self) -> int:
        return 2

    def cores(self, tasks: int) -> int:
        return 1

    def submit(self, tasks: Sequence[TaskFiles], logs: Path) -> Iterator[tuple[TaskFiles, Job]]:
        for task in tasks:
            self.submitted.append(task.number)
            fate = next(self._fates)
            if fate.isdecimal():
                task.note_exit(int(fate))
            elif fate == "disappears":
                pass
            elif fate == "dies before its result":
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(TaskFiles, "write_result", _die)
                    with pytest.raises(RuntimeError, match="the worker dies"):
                        self._work(task)
                raise OSError("the driver dies")
            elif fate == "driver dies":
                raise OSError("the driver dies")
            else:
                self._work(task)
                if fate == "works, then the driver dies":
                    raise OSError("the driver dies")
            yield task, Job(str(task.number), str(logs / f"{task.number}.log"))

    @staticmethod
    def _work(task: TaskFiles) -> None:
        order = read_order(task.order)
        try:
            worker.work(task, order, configs_of(order), Console(file=StringIO(), width=200))
        except TaskRefused:
            task.note_exit(REFUSED)
        except ConfigError:
            task.note_exit(2)
        except TaskHeld:
            task.note_exit(TRY_AGAIN)

    def alive(self, jobs: Mapping[int, Job]) -> dict[int, str]:
        return {}

    def stop(self, jobs: Mapping[int, Job], *, kill: bool = False) -> None:
        pass


def _die(*others: object) -> None:
    raise RuntimeError("the worker dies")


@pytest.fixture(autouse=True, scope="module")
def here() -> Iterator[None]:
    """Choose the CPU, because another test may have set up TensorFlow already; make no report, and wait for nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.sweep.executor.choose_device", lambda runtime: ("/CPU:0", "CPU"))
        patch.setattr("harness.sweep.runner.publish_report", lambda *others: None)
        for module in (driver, supervisor):
            patch.setattr(module, "POLL_SECONDS", 0.0)
        patch.setattr(worker, "LOCK_SECONDS", 0.2)
        yield


def configs(store: Store) -> list[Config]:
    """Runs, some of which share a lane, and others a setting."""
    grid = itertools.product([50, "full"], [(0.01, 1, 0), (0.01, 2, 0), (0.1, 2, 0), (0.1, 2, 1)])
    return [replace(store.config(chunk, rate, epochs, "a sweep"), seed=seed) for chunk, (rate, epochs, seed) in grid]


def sweep(store: Store, cluster: Inside | None, folder: str = "sweep") -> tuple[list[Run], str]:
    console = Console(file=StringIO(), width=200)
    with Sweep(Display(console), command="harness train -m ...", folder=store.path / folder, cluster=cluster) as made:
        runs = made.train(configs(store))
    return runs, console.file.getvalue()  # type: ignore[attr-defined]


def lose_driver(store: Store, cluster: Inside) -> None:
    with pytest.raises(OSError, match="the driver dies"):
        sweep(store, cluster, "before")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, here: None) -> tuple[Store, list[Run]]:
    """The same sweep in one process."""
    store = Store(tmp_path_factory.mktemp("alone"))
    return store, sweep(store, None)[0]


def with_models(store: Store) -> list[str | None]:
    runs = store.records()
    names = [run.info.run_name for run in runs if run.outputs and run.outputs.model_outputs]
    assert len(names) == 1
    return names


def check(store: Store, alone: tuple[Store, list[Run]]) -> None:
    """Check that the store has what one process would have recorded."""
    assert store.numbers() == alone[0].numbers()
    client = MlflowClient(store.uri)
    (summary,) = store.records("sweep")
    runs = store.records()
    assert {run.data.tags["sweep"] for run in runs} == {summary.info.run_id}
    assert {run.info.status for run in [summary, *runs]} == {"FINISHED"}
    assert with_models(store) == with_models(alone[0])
    assert summary.data.metrics["time/train_s"] > 0
    assert {item.path for item in client.list_artifacts(summary.info.run_id)} >= {"packages.txt", "sample.csv"}
    assert not list((store.path / "cache").glob("checkpoints/*"))


def test_as_if_one_process_had_trained_them(
    tmp_path: Path, alone: tuple[Store, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, cluster, copies = Store(tmp_path), Inside("137", "works", "137", tasks=2), list[Path]()

    @contextlib.contextmanager
    def copied(table: Table, *others: Any) -> Iterator[Table]:
        with local_copy(table, *others) as copy:
            copies.append(copy.folder)
            yield copy

    cluster.scratch = str(tmp_path)
    monkeypatch.setattr(Passes, "pays", True)
    monkeypatch.setattr(worker, "local_copy", copied)
    runs, said = sweep(store, cluster)
    assert len(copies) == 2
    assert copies[0].is_relative_to(tmp_path / f"harness-{os.geteuid()}")
    assert not copies[0].exists()
    assert cluster.submitted == [1, 2, 1, 1]
    assert "8 runs in 2 tasks on this process" in said
    assert said.count("task 1: killed by signal 9 (log: ") == 2
    assert [(run.name, run.cost, run.status, run.is_reused) for run in runs] == [
        (run.name, run.cost, "FINISHED", False) for run in alone[1]
    ]
    check(store, alone)
    again = Inside()
    assert all(run.is_reused for run in sweep(store, again)[0])
    assert again.submitted == []


@pytest.mark.slow
def test_a_task_that_fails_three_times_fails_its_runs(tmp_path: Path) -> None:
    store, cluster = Store(tmp_path), Inside("137", "works", "works", "137", "137")
    runs, said = sweep(store, cluster)
    assert cluster.submitted == [1, 2, 3, 1, 1]
    assert "; it has failed 3 times" in said
    failed = [run for run in runs if run.status == "FAILED"]
    assert 0 < len(failed) < len(runs)
    assert {run.status for run in runs} == {"FINISHED", "FAILED"}
    records = MlflowClient(store.uri).search_runs(["1"], "attributes.status = 'FAILED' and tags.kind = 'run'")
    assert {record.info.run_id for record in records} == {run.run_id for run in failed}
    assert all("killed by signal 9 (log: " in record.data.tags["failure"] for record in records)
    sweep(store, Inside())  # It trains those again.
    assert all(run.status == "FINISHED" for run in sweep(store, Inside())[0])


@pytest.mark.slow
@pytest.mark.parametrize("fates", [["works", "driver dies"], ["works", "works, then the driver dies"], ["driver dies"]])
def test_the_next_driver_takes_over(fates: list[str], tmp_path: Path, alone: tuple[Store, list[Run]]) -> None:
    store = Store(tmp_path)
    lose_driver(store, Inside(*fates))
    assert "RUNNING" not in {*store.statuses(), *store.statuses("sweep")}
    cluster = Inside(tasks=5)  # The tasks are those of the first driver.
    runs = sweep(store, cluster)[0]
    done = sum("works" in fate for fate in fates)
    assert cluster.submitted == [1, 2, 3][done:]
    assert not any(run.is_reused for run in runs)
    check(store, alone)


@pytest.mark.slow
def test_a_worker_that_dies_before_its_result_leaves_all_to_the_next(
    tmp_path: Path, alone: tuple[Store, list[Run]]
) -> None:
    """The store has all runs, but only the worker's checkpoint has the best model and the metrics on the test set."""
    store = Store(tmp_path)
    lose_driver(store, Inside("dies before its result", tasks=1))
    assert {*store.statuses()} == {"FINISHED"}
    cluster = Inside(tasks=1)
    runs, said = sweep(store, cluster)
    assert cluster.submitted == [1]
    assert not any(run.is_reused for run in runs)
    assert "already finished" not in said
    check(store, alone)


@pytest.mark.slow
def test_the_next_driver_has_other_code_and_another_summary(
    tmp_path: Path, alone: tuple[Store, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    lose_driver(store, Inside("works", "driver dies"))
    client = MlflowClient(store.uri)
    (summary,) = store.records("sweep")
    client.delete_run(summary.info.run_id)
    monkeypatch.setattr("harness.sweep.tasks.order.code_digest", lambda: "newer")
    sweep(store, Inside())
    (summary,) = store.records("sweep")
    runs = store.records()
    assert all(summary.info.run_id in run.data.tags["sweep"].split(",") for run in runs)
    assert {run.info.status for run in [summary, *runs]} == {"FINISHED"}
    assert store.numbers() == alone[0].numbers()


@pytest.mark.slow
def test_a_worker_that_only_its_lock_shows_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    lose_driver(store, Inside("driver dies"))
    (path, *_) = store.path.glob("cache/checkpoints/*-tasks/1.json")
    held, looks, cluster = contextlib.ExitStack(), itertools.count(), Inside()
    held.enter_context(TaskFiles(path).hold(0))

    def alive(jobs: Mapping[int, Job]) -> dict[int, str]:
        if next(looks) == 4:
            assert 1 not in cluster.submitted
            held.close()
        return {}

    monkeypatch.setattr(cluster, "alive", alive)
    runs = sweep(store, cluster)[0]
    assert cluster.submitted == [2, 3, 1]
    assert {run.status for run in runs} == {"FINISHED"}


def test_a_driver_submits_jobs_only_with_its_lease_and_stops_them_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, cluster, stopped = Store(tmp_path), Inside(*["disappears"] * 3), list[int]()
    cluster.is_remote = True
    answers = iter([False, True, LeaseLost("other processes may now train its runs")])

    def has_lease(tracker: Tracker) -> bool:
        answer = next(answers)
        if isinstance(answer, LeaseLost):
            raise answer
        assert not cluster.submitted
        return answer

    def stop(jobs: Mapping[int, Job], *, kill: bool = False) -> None:
        stopped.extend(jobs)
        raise ConfigError("Slurm does not answer")

    monkeypatch.setattr("harness.sweep.runner.require_server", lambda uri: None)
    monkeypatch.setattr(Tracker, "has_lease", has_lease)
    monkeypatch.setattr(cluster, "stop", stop)
    with pytest.raises(LeaseLost):
        sweep(store, cluster)
    assert stopped == cluster.submitted == [1, 2, 3]


def job(number: int = 1) -> Job:
    return Job(str(number), "some.log")


def test_what_counts_as_a_failure(tmp_path: Path) -> None:
    files = TaskFiles.numbered(tmp_path, 1)
    for code in (137, 137, 137):
        files.note_exit(code)
    attempts, said = Attempts(files), []  # Earlier ones do not count.
    assert attempts.look(None, is_alive=False) == ""
    for code in (137, TRY_AGAIN, None, 143):
        attempts.started()
        assert attempts.look(job(), is_alive=True) == ""
        if code:
            files.note_exit(code)
        said.append(attempts.look(job(), is_alive=False))
        assert not attempts.defeat
    assert said == [
        "task 1: killed by signal 9 (log: some.log); starting it again",
        "task 1: exit code 75 (log: some.log); starting it again",
        "task 1: it disappeared (log: some.log); starting it again",
        "task 1: stopped by signal 15 (log: some.log); starting it again",
    ]
    assert attempts.failures == 2
    files.note_exit(1)
    attempts.look(job(), is_alive=False)
    assert attempts.defeat == "task 1: exit code 1 (log: some.log); it has failed 3 times"
    (attempts := Attempts(files)).started()
    files.note_exit(REFUSED)
    attempts.look(job(), is_alive=False)
    assert attempts.defeat == "task 1: exit code 78 (log: some.log); it is not started again"


def test_workers_that_are_stopped_before_they_get_further(tmp_path: Path) -> None:
    files = TaskFiles.numbered(tmp_path, 1)
    attempts = Attempts(files)

    def stop(rows: int, *, is_alive: bool = False) -> str:
        attempts.started()
        files.write_status(Status("node", 1, 5, rows, 500))
        files.note_exit(143)
        attempts.look(job(), is_alive=is_alive)
        return attempts.defeat

    assert not any([stop(0), stop(0), stop(100), stop(50), stop(200), stop(200)])
    assert not any(stop(200, is_alive=True) for _ in range(5))  # Their cluster has requeued them.
    assert stop(200) == "task 1: stopped by signal 15 (log: some.log); it was stopped 3 times and made no progress"


@pytest.mark.slow
def test_a_result_that_the_store_does_not_confirm_is_not_believed(
    tmp_path: Path, alone: tuple[Store, list[Run]]
) -> None:
    store = Store(tmp_path)
    lose_driver(store, Inside("works", "driver dies"))
    client = MlflowClient(store.uri)
    (lost, *_) = client.search_runs(["1"], "attributes.status = 'FINISHED' and tags.kind = 'run'")
    client.delete_run(lost.info.run_id)
    cluster = Inside()
    sweep(store, cluster)
    assert cluster.submitted == [1, 2, 3]
    check(store, alone)


@pytest.mark.slow
def test_workers_that_differ_refuse(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = Store(tmp_path)
    lose_driver(store, Inside("driver dies"))
    (path, *_) = store.path.glob("cache/checkpoints/*-tasks/1.json")
    files, order, console = TaskFiles(path), read_order(path), Console(file=StringIO())
    other = replace(order, runs=[replace(run, signature="another") for run in order.runs])
    with pytest.raises(TaskRefused, match="is a different run here: its data or its model's source differs"):
        worker.work(files, other, configs_of(order), console)
    with files.hold(0), pytest.raises(SystemExit, match=r"^75$"):
        work(path, trust=False)
    assert capsys.readouterr().err == "harness: task 1 is held by another worker.\n"
    assert not store.records()


@pytest.mark.slow
@pytest.mark.parametrize("fates", [["78", "works", "78"], ["78"] * 3])
def test_a_task_that_is_refused_is_not_tried_again(fates: list[str], tmp_path: Path) -> None:
    """If nothing else is trained, the sweep is rejected, after recording that its runs have failed."""
    store, cluster, logs = Store(tmp_path), Inside(*fates), tmp_path / "sweep" / "tasks"
    logs.mkdir(parents=True)
    for number in (1, 2, 3):
        (logs / f"{number}.log").write_text(f"...\nharness: task {number}: this worker has other data.\n")
    why, is_rejected = f"task 1: this worker has other data (log: {logs / '1.log'})", "works" not in fates
    with pytest.raises(ConfigError, match=f"^{re.escape(why)}\\.$") if is_rejected else contextlib.nullcontext():
        assert f"{why}; it is not started again\n" in sweep(store, cluster)[1]
    assert cluster.submitted == [1, 2, 3]
    records = MlflowClient(store.uri).search_runs(["1"])
    failed = [record for record in records if record.info.status == "FAILED" and record.data.tags["kind"] == "run"]
    assert {record.info.status for record in records} == ({"FAILED"} if is_rejected else {"FAILED", "FINISHED"})
    assert f"{why}; it is not started again" in {record.data.tags["failure"] for record in failed}


def test_other_code_or_packages_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    order, older = new_order(1, [], "harness train -m ...", []), re.sub("(keras==).*", r"\g<1>1.0", packages())
    for differs, said in (
        ({"packages": older}, f"this worker has keras {keras.__version__}, but the driver has keras 1.0."),
        ({"code": "other", "commits": "harness==c0ffee\n"}, "differs from the driver's (harness c0ffee)."),
        (None, "1.json was written by another version of harness."),
    ):
        write_json(tmp_path / "1.json", KIND if differs else "task 1", asdict(order) | (differs or {}))
        with pytest.raises(SystemExit, match=f"^{REFUSED}$"):
            work(tmp_path / "1.json", trust=False)
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnreachable("no answer"), SystemExit),
        (MlflowException("failed after retries: ConnectionError"), MlflowException),
        (MlflowException("no answer"), SystemExit),
        (ConfigError("bad data"), ConfigError),
    ],
)
def test_a_store_that_is_away_is_no_failure(
    error: Exception, code: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code is SystemExit:
        error.__cause__ = requests.exceptions.ConnectionError("no answer")

    def fail(*others: object) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    run = RunOrder("", "", "", config_yaml(Store(tmp_path).config(50, 0.1)))
    write_order(tmp_path / "1.json", new_order(1, [run], "", [], membership=MEMBERSHIP))
    monkeypatch.setattr(worker, "work", fail)
    with pytest.raises(code, match="75" if code is SystemExit else str(error)):
        work(tmp_path / "1.json", trust=False)


def test_a_store_in_a_file_is_refused_with_remote_workers(tmp_path: Path) -> None:
    cluster = Inside()
    cluster.is_remote = True
    with pytest.raises(ConfigError, match=r"workers on other machines cannot write to the file sqlite:.*mlflow server"):
        sweep(Store(tmp_path), cluster)
    assert not (tmp_path / "cache").exists()


def test_orders_hold_configurations_exactly(tmp_path: Path) -> None:
    model = {"_target_": "harness.models.mlp", "units": [3, 1]}
    exact = replace(Store(tmp_path).config(50, 0.1 + 0.2), model=model)
    order = new_order(1, [RunOrder("a", "b", "c", config_yaml(exact))], "", [], membership=MEMBERSHIP)
    write_order(tmp_path / "1.json", order)
    assert read_order(tmp_path / "1.json") == order
    assert configs_of(order) == [exact]
    with pytest.raises(ConfigError, match=r"^Task 1 has no runs\.$"):
        configs_of(replace(order, runs=[]))
    for damaged in ("", "[1]", "epochs: 1", "data: {}\nruntime: {}\ntracking: 1"):
        with pytest.raises(ConfigError):
            configs_of(replace(order, runs=[replace(order.runs[0], config=damaged)]))


def run_of(name: str, epochs: int) -> Run:
    table = SimpleNamespace(train_rows=100)
    return Run(SimpleNamespace(epochs=epochs, chunk_rows=lambda rows: 10), table, name, name)  # type: ignore[arg-type]


def test_tasks_have_whole_tiles_and_similar_loads() -> None:
    tiles = [[run_of("a", 5), run_of("b", 1)], [run_of("c", 1)], [run_of("d", 3)], [run_of("e", 1)], [run_of("f", 2)]]
    tasks = [[run.name for run in runs] for runs in partition(tiles, 2)]
    assert tasks == [["a", "b", "c"], ["d", "e", "f"]]
    assert [[run.name for run in runs] for runs in partition(tiles[:2], 5)] == [["a", "b"], ["c"]]


def test_what_is_shown_of_tasks() -> None:
    run, ended = run_of("a", 1), run_of("b", 1)
    ended.status = "FINISHED"
    rows = [
        TaskRow(1, [ended], Status("node-1", 2, 2, 200, 200, 1e6, 1), 0),
        TaskRow(2, [run, ended], Status("node-2", 1, 5, 150, 500, 2.5e6, 1, "val/loss 0.5"), 1),
        TaskRow(3, [run], Status("node-1", 0, 5), 0),
        TaskRow(4, [run], None, 2),
        TaskRow(5, [run], Status("node-1", 1, 5, 150, 500, 2.5e6), 0, "pending (JobHeldUser)"),
    ]
    console = Console(file=StringIO(), width=80)
    console.print(tasks_view(rows))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines == [
        "task  node        epoch  runs  rows/s  restarts  best",
        "2     node-2        1/5   1/2    2.5M         1  val/loss 0.5",
        "3     node-1  compiling   0/1",
        "4                         0/1                 2  waiting",
        "5     node-1              0/1                    pending (JobHeldUser)",
        "1     node-1              1/1                    ended",
    ]
    assert progress_of(rows) == "4 tasks to go, 2/6 runs, 2.5M rows/s"
