"""Sweeps divided into tasks: as if one process had trained them, whatever happens to workers. All run in this one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from harness.config import Config, DataConfig, LogModel, Loss, RuntimeConfig, TrackingConfig
from harness.errors import ConfigError
from harness.sweep.display import Display
from harness.sweep.plan import Run
from harness.sweep.run_fields import config_yaml
from harness.sweep.runner import Sweep
from harness.sweep.tasks import driver, worker
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.files import Job, Status, TaskFiles
from harness.sweep.tasks.order import configs_of, read_order
from harness.sweep.tasks.partition import partition
from harness.sweep.tasks.view import TaskRow, progress_of, tasks_view

CSV = "x,y\n" + "".join(f"{i % 97},{3 * (i % 97) + i % 7}\n" for i in range(4000))
TIMES = ("time/", "rows_per_second", "system/", "memory/peak", "memory/scan")


class Store:
    """A folder with a file, a store and a cache."""

    def __init__(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self.path, self.uri = path, f"sqlite:///{path}/mlflow.db"
        (path / "some.csv").write_text(CSV)

    def config(self, chunk: int | str, rate: float, epochs: int = 2, name: str | None = None) -> Config:
        return Config(
            chunksize=chunk,
            learning_rate=rate,
            epochs=epochs,
            seed=0,
            loss=Loss.mse,
            data=DataConfig(features=["x"], target="y", path=str(self.path / "some.csv"), test=0.1),
            model={"_target_": "harness.models.mlp", "units": [2]},
            optimizer={"name": "adam"},
            tracking=TrackingConfig(uri=self.uri, log_model=LogModel.best, name=name),
            runtime=RuntimeConfig(cache=str(self.path / "cache"), lane_tile=1, time_alone=False),
        )

    def numbers(self) -> dict[tuple[str, str], list]:
        """All metrics but times by run and key, after checking that no point is there twice."""
        client, found = MlflowClient(self.uri), {}
        runs = client.search_runs(["1"], "tags.kind = 'run'")
        assert len({run.data.tags["signature"] for run in runs}) == len(runs)
        for run in runs:
            for key in run.data.metrics:
                points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
                assert len(dict(points)) == len(points)
                if not key.startswith(TIMES):
                    found[run.info.run_name, key] = sorted(points)
        return found


class Inside(Cluster):
    """A cluster whose workers run in this process, one after another; `fates` say what becomes of each in turn."""

    name, is_remote = "this process", False

    def __init__(self, *fates: str, tasks: int = 3) -> None:
        self.tasks, self._fates = tasks, itertools.chain(fates, itertools.repeat("works"))
        self.submitted: list[int] = []

    def size(self) -> int:
        return 2

    def submit(self, tasks: Sequence[TaskFiles], logs: Path) -> dict[int, Job]:
        for task in tasks:
            self.submitted.append(task.number)
            fate = next(self._fates)
            if fate == "dies":
                task.note_exit(137)
            elif fate == "driver dies":
                raise OSError("the driver dies")
            else:
                console = Console(file=StringIO(), width=200)
                order = read_order(task.order)
                try:
                    worker.work(task, order, configs_of(order), console)
                except ConfigError:
                    task.note_exit(2)
                if fate == "works, then the driver dies":
                    raise OSError("the driver dies")
        return {task.number: Job(str(task.number), str(logs / f"{task.number}.log")) for task in tasks}

    def alive(self, jobs: Mapping[int, Job]) -> dict[int, str]:
        return {}

    def stop(self, jobs: Mapping[int, Job], *, kill: bool = False) -> None:
        pass


@pytest.fixture(autouse=True, scope="module")
def here() -> Iterator[None]:
    """Choose the CPU, because another test may have set up TensorFlow already; make no report, and wait for nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.sweep.executor.choose_device", lambda runtime: ("/CPU:0", "CPU"))
        patch.setattr("harness.sweep.runner.publish_report", lambda *others: None)
        patch.setattr(driver, "POLL_SECONDS", 0.0)
        patch.setattr(worker, "LOCK_SECONDS", 0.2)
        yield


def configs(store: Store) -> list[Config]:
    """Runs of which some share a lane, and others a setting."""
    grid = itertools.product([50, "full"], [(0.01, 1, 0), (0.01, 2, 0), (0.1, 2, 0), (0.1, 2, 1)])
    return [replace(store.config(chunk, rate, epochs, "a sweep"), seed=seed) for chunk, (rate, epochs, seed) in grid]


def sweep(store: Store, cluster: Inside | None, folder: str = "sweep") -> tuple[list[Run], str]:
    console = Console(file=StringIO(), width=200)
    with Sweep(Display(console), command="harness train -m ...", folder=store.path / folder, cluster=cluster) as made:
        runs = made.train(configs(store))
    return runs, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, here: None) -> tuple[Store, list[Run]]:
    """The same sweep in one process."""
    store = Store(tmp_path_factory.mktemp("alone"))
    return store, sweep(store, None)[0]


def with_models(store: Store) -> list[str | None]:
    runs = MlflowClient(store.uri).search_runs(["1"], "tags.kind = 'run'")
    names = [run.info.run_name for run in runs if run.outputs and run.outputs.model_outputs]
    assert len(names) == 1
    return names


def check(store: Store, alone: tuple[Store, list[Run]]) -> None:
    """Check that the store has what one process would have recorded."""
    assert store.numbers() == alone[0].numbers()
    client = MlflowClient(store.uri)
    (summary,) = client.search_runs(["1"], "tags.kind = 'sweep'")
    runs = client.search_runs(["1"], "tags.kind = 'run'")
    assert {run.data.tags["sweep"] for run in runs} == {summary.info.run_id}
    assert {run.info.status for run in [summary, *runs]} == {"FINISHED"}
    assert with_models(store) == with_models(alone[0])
    assert summary.data.metrics["time/train_s"] > 0
    assert {item.path for item in client.list_artifacts(summary.info.run_id)} >= {"packages.txt", "sample.csv"}
    assert not list((store.path / "cache").glob("checkpoints/*"))


def test_as_if_one_process_had_trained_them(tmp_path: Path, alone: tuple[Store, list[Run]]) -> None:
    store, cluster = Store(tmp_path), Inside("dies", "works", "dies", tasks=2)
    runs, said = sweep(store, cluster)
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
    store, cluster = Store(tmp_path), Inside("dies", "works", "works", "dies", "dies")
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
    with pytest.raises(OSError, match="the driver dies"):
        sweep(store, Inside(*fates), "before")
    statuses = {run.info.status for run in MlflowClient(store.uri).search_runs(["1"])}
    assert "RUNNING" not in statuses
    cluster = Inside(tasks=5)  # The tasks are those that the first driver has made.
    runs = sweep(store, cluster)[0]
    done = sum("works" in fate for fate in fates)
    assert cluster.submitted == [1, 2, 3][done:]
    assert not any(run.is_reused for run in runs)
    check(store, alone)


@pytest.mark.slow
def test_a_result_that_the_store_does_not_confirm_is_not_believed(
    tmp_path: Path, alone: tuple[Store, list[Run]]
) -> None:
    store = Store(tmp_path)
    with pytest.raises(OSError, match="the driver dies"):
        sweep(store, Inside("works", "driver dies"), "before")
    client = MlflowClient(store.uri)
    (lost, *_) = client.search_runs(["1"], "attributes.status = 'FINISHED' and tags.kind = 'run'")
    client.delete_run(lost.info.run_id)
    cluster = Inside()
    sweep(store, cluster)
    assert cluster.submitted == [1, 2, 3]
    check(store, alone)


@pytest.mark.slow
def test_workers_that_differ_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    with pytest.raises(OSError, match="the driver dies"):
        sweep(store, Inside("driver dies"))
    (path, *_) = store.path.glob("cache/checkpoints/*-tasks/1.json")
    files, order, console = TaskFiles(path), read_order(path), Console(file=StringIO())
    with pytest.raises(ConfigError, match="harness or its packages differ from those of the process"):
        worker.work(files, {**order, "code": "another"}, configs_of(order), console)
    other = {**order, "runs": [{**run, "signature": "another"} for run in order["runs"]]}
    with pytest.raises(ConfigError, match="is a different run here: its data or its model's source differs"):
        worker.work(files, other, configs_of(order), console)  # type: ignore[arg-type]
    with files.hold(0), pytest.raises(ConfigError, match="task 1: another worker holds it"):
        worker.work(files, order, configs_of(order), console)
    assert not MlflowClient(store.uri).search_runs(["1"], "tags.kind = 'run'")


def test_a_store_in_a_file_is_refused_with_remote_workers(tmp_path: Path) -> None:
    cluster = Inside()
    cluster.is_remote = True
    with pytest.raises(ConfigError, match=r"workers on other machines cannot write to the file sqlite:.*mlflow server"):
        sweep(Store(tmp_path), cluster)
    assert not (tmp_path / "cache").exists()


def test_orders_hold_configurations_exactly(tmp_path: Path) -> None:
    store = Store(tmp_path)
    config = replace(store.config(50, 0.1 + 0.2), model={"_target_": "harness.models.mlp", "units": [3, 1]})
    text = json.dumps({"runs": [{"config": config_yaml(config)}]})
    assert configs_of(json.loads(text)) == [config]


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
    ]
    console = Console(file=StringIO(), width=80)
    console.print(tasks_view(rows))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines == [
        "task  node        epoch  runs  rows/s  restarts  best",
        "2     node-2        1/5   1/2    2.5M         1  val/loss 0.5",
        "3     node-1  compiling   0/1",
        "4                         0/1                 2  waiting",
        "1     node-1              1/1                    ended",
    ]
    assert progress_of(rows, 5) == "3 tasks to go, 2/5 runs, 2.5M rows/s"
