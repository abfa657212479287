"""Lets workers create the tables of large sources, so that the driver, possibly on a login node, need not parse them.

All tables are created before a task starts, and bad rows are rejected as if the driver had read them.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.config import Config
from harness.data.ingest import IngestProgress
from harness.data.tables.builder import find_table
from harness.errors import ConfigError
from harness.formatting import count
from harness.runtime.signals import StopRequest, defer_signals
from harness.sweep.display import Display
from harness.sweep.identity import hash_json
from harness.sweep.run_fields import config_yaml
from harness.sweep.tasks.attempts import Attempts
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.files import TaskFiles
from harness.sweep.tasks.order import Order, RunOrder, new_order, write_order

PARSED_HERE = 1_000_000_000
"""Size of a source, in bytes, above which starting a worker takes less time than parsing the source."""

FOLDER = "prepare"
"""The folder in the cache for the files of these tasks."""

_POLL_SECONDS = 0.5


def tables_on(cluster: Cluster | None, command: str, display: Display) -> Callable[[Sequence[Config]], None]:
    """Return the function that creates the tables of configurations if workers are on other machines."""
    if not cluster or not cluster.is_remote:
        return lambda configs: None
    return lambda configs: prepare_tables(configs, cluster, command, display)


def prepare_tables(configs: Sequence[Config], cluster: Cluster, command: str, display: Display) -> None:
    """Create the tables of large sources on the cluster, unless they are in the cache.

    Raises:
        ConfigError: The data cannot be used, or workers have failed.
    """
    cache = Path(configs[0].runtime.cache).absolute()
    wanted: dict[Path, Config] = {}
    for config in {repr(config.data): config for config in configs}.values():
        folder, size = find_table(config.data, cache, display.reading, display.say)
        if size >= PARSED_HERE and not folder.exists():
            wanted.setdefault(folder, config)
    if wanted:
        _Preparation(wanted, cache, cluster, command, display).run()


class _Preparation:
    """The tasks that create tables, one per table."""

    def __init__(
        self, wanted: Mapping[Path, Config], cache: Path, cluster: Cluster, command: str, display: Display
    ) -> None:
        self._cluster, self._display = cluster, display
        names = sorted(folder.name for folder in wanted)
        self._root = cache / FOLDER / hash_json(names)
        self._root.mkdir(parents=True, exist_ok=True)
        self._tables = {TaskFiles.numbered(self._root, n): cache / "tables" / name for n, name in enumerate(names, 1)}
        for files, table in self._tables.items():
            write_order(files.order, _order(files.number, wanted[table], command))
        found = {files.number: job for files in self._tables if (job := files.job())}
        alive = cluster.alive(found)
        self._jobs = {number: job for number, job in found.items() if number in alive}
        for files in self._tables:
            if files.number not in alive and not files.is_held:
                files.drop_answer()
        self._attempts = {files: Attempts(files) for files in self._tables}

    def run(self) -> None:
        """Return once all tables have been created."""
        self._display.say(f"data:   creating {count(len(self._tables), 'table')} on {self._cluster.name}")
        try:
            with defer_signals() as stop:
                self._wait(stop)
        except (KeyboardInterrupt, SystemExit):
            self._cluster.stop(self._jobs, kill=True)
            raise
        self._display.clear()
        if stop and not (stop.number == signal.SIGHUP and self._cluster.is_remote):
            self._cluster.stop(self._jobs)
            while self._cluster.alive(self._jobs):
                time.sleep(_POLL_SECONDS)
        if stop:
            stop.exit()
        refusals, said = [], []
        for files in self._tables:
            if answer := files.answer():
                said += answer.said
                refusals += [answer.refusal] if answer.refusal else []
        shutil.rmtree(self._root, ignore_errors=True)
        for line in dict.fromkeys(said):
            self._display.say(f"data:   {line}")
        if refusals:
            raise ConfigError(refusals[0])

    def _wait(self, stop: StopRequest) -> None:
        open_tasks, next_look = set(self._tables), 0.0
        while open_tasks and not stop:
            if time.monotonic() >= next_look:
                open_tasks -= self._look(open_tasks)
                next_look = time.monotonic() + self._cluster.seconds
                if rows := sum(status.rows for files in self._tables if (status := files.status())):
                    self._display.reading(IngestProgress("reading", rows))
            if open_tasks and not stop:
                time.sleep(_POLL_SECONDS)

    def _look(self, open_tasks: set[TaskFiles]) -> set[TaskFiles]:
        """Return the tasks that have ended; start or restart the others."""
        alive = self._cluster.alive(self._jobs)
        for folder in (self._root, *{table.parent for table in self._tables.values()}):
            with suppress(FileNotFoundError):
                list(folder.iterdir())  # On a network file system, this makes files from other machines visible.
        ended, waiting = set(), []
        for files in sorted(open_tasks, key=lambda files: files.number):
            is_alive = files.number in alive or files.is_held
            # If a file's properties differ between machines, a worker creates a different table from the one expected.
            if self._tables[files].exists() or files.answer():
                ended.add(files)
                continue
            if said := self._attempts[files].look(self._jobs.get(files.number), is_alive):
                self._display.say(said)
            if not is_alive and (why := self._attempts[files].defeat):
                self._cluster.stop(self._jobs)
                raise ConfigError(f"The data could not be prepared on {self._cluster.name}: {why}.")
            if not is_alive:
                waiting.append(files)
        for files, job in self._cluster.submit(waiting, self._root / "logs"):
            files.write_job(job)
            self._jobs[files.number] = job
            self._attempts[files].started()
        return ended


def _order(number: int, config: Config, command: str) -> Order:
    run = RunOrder(signature="", name="", command=command, config=config_yaml(config))
    return new_order(number, [run], command, config.targets.values())
