"""Tables that workers create before a sweep starts are those that the driver would have created.

No worker trains anything.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.work import work
from harness.config import Config
from harness.data.tables.builder import find_table
from harness.errors import ConfigError
from harness.sweep.display import Display
from harness.sweep.tasks import preparation, supervisor
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.files import Job, TaskFiles
from harness.sweep.tasks.preparation import tables_on
from tests.sweep.folders import config as small_config


class Elsewhere(Cluster):
    """A cluster whose workers run in this process; `fates` determines what happens to each."""

    name, is_remote, seconds, tasks = "a cluster", True, 0.0, None

    def __init__(self, *fates: str) -> None:
        self._fates, self.submitted, self.stops = iter(fates), list[int](), list[bool]()
        self.hangs = "hangs" in fates

    def submit(self, tasks: Sequence[TaskFiles], logs: Path) -> Iterator[tuple[TaskFiles, Job]]:
        for task in tasks:
            self.submitted.append(task.number)
            here = Path.cwd()
            if (fate := next(self._fates, "works")) == "works":
                try:
                    work(task.order, trust=False)
                except ConfigError:
                    task.note_exit(2)
                finally:
                    os.chdir(here)
            elif not self.hangs:
                task.note_exit(int(fate))
            yield task, Job(str(task.number), str(logs / f"{task.number}.log"))

    def alive(self, jobs: Mapping[int, Job]) -> dict[int, str]:
        if jobs and self.hangs:
            signal.raise_signal(signal.SIGINT)
        return dict.fromkeys(jobs, "running") if self.hangs else {}

    def stop(self, jobs: Mapping[int, Job], *, kill: bool = False) -> None:
        self.stops.append(kill)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(preparation, "PARSED_HERE", 1)
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.0)
    (tmp_path / "some.csv").write_text("x,y\n" + "1,2\n3,4\n" * 500)
    return small_config(tmp_path)


def prepared(cluster: Cluster, *configs: Config) -> str:
    console = Console(file=StringIO(), width=200)
    tables_on(cluster, "harness train -m ...", Display(console))(configs)
    return console.file.getvalue()  # type: ignore[attr-defined]


def table_of(config: Config) -> Path:
    return find_table(config.data, Path(config.runtime.cache))[0]


def test_a_worker_makes_each_table_once(config: Config, tmp_path: Path) -> None:
    other = replace(config, data=replace(config.data, split_seed=3))
    cluster = Elsewhere("137")
    said = prepared(cluster, config, replace(config, epochs=2), other)
    assert "creating 2 tables on a cluster" in said
    assert "task 1: killed by signal 9 (log: " in said
    assert cluster.submitted == [1, 2, 1]
    assert table_of(config) != table_of(other)
    assert table_of(config).exists()
    assert table_of(other).exists()
    assert [*(tmp_path / "cache" / preparation.FOLDER).iterdir()] == []
    assert prepared(cluster, config, other) == ""
    assert cluster.submitted == [1, 2, 1]


def test_a_bad_row_is_rejected_with_the_same_sentence(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text(path.read_text() + "5,six\n")
    for cluster in (Elsewhere(), Elsewhere()):  # A rejection is not remembered.
        with pytest.raises(ConfigError, match=r"some\.csv.*line 1002.*six"):
            prepared(cluster, config)
        assert cluster.submitted == [1]
    assert not table_of(config).exists()


def test_workers_that_fail_are_given_up(config: Config) -> None:
    cluster = Elsewhere("137", "1", "9")
    with pytest.raises(ConfigError, match=r"^The data could not be prepared on a cluster: .* it has failed 3 times\.$"):
        prepared(cluster, config)


def test_small_sources_are_parsed_by_the_driver(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "PARSED_HERE", 10**6)
    cluster = Elsewhere()
    assert prepared(cluster, config) == ""
    assert cluster.submitted == []


def test_a_second_interrupt_kills_the_workers(config: Config) -> None:
    cluster = Elsewhere("hangs")
    with pytest.raises(KeyboardInterrupt):
        prepared(cluster, config)
    assert cluster.stops == [False, True]


def test_another_driver_may_prepare_the_same_tables(config: Config) -> None:
    """The one that finishes first deletes the folder of the tasks."""

    class Shared(Elsewhere):
        def alive(self, jobs: Mapping[int, Job]) -> dict[int, str]:
            if jobs:
                assert "1 table on" in prepared(Elsewhere(), config)
            return {}

    assert "1 table on" in prepared(Shared("hangs"), config)
    assert table_of(config).exists()
