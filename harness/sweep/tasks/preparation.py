"""Lets workers create the tables of large sources, so that the driver, possibly on a login node, need not parse them.

All tables are created before a task starts, and bad rows are rejected as if the driver had read them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.config import Config
from harness.data.ingest import IngestProgress
from harness.data.tables.builder import find_table
from harness.errors import ConfigError
from harness.formatting import count
from harness.sweep.display import Display
from harness.sweep.identity import hash_json
from harness.sweep.run_fields import config_yaml
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.files import TaskFiles
from harness.sweep.tasks.order import Order, RunOrder, new_order, write_order
from harness.sweep.tasks.supervisor import Supervisor

PARSED_HERE = 1_000_000_000
"""Size of a source, in bytes, above which starting a worker takes less time than parsing the source."""

FOLDER = "prepare"
"""The folder in the cache for the files of these tasks."""


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
        self._workers = Supervisor(cluster, self._tables, self._root / "logs", display)
        for files in self._tables:
            if files.number not in self._workers.states and not files.is_held:
                files.drop_answer()

    def run(self) -> None:
        """Return once all tables have been created."""
        self._display.say(f"data:   creating {count(len(self._tables), 'table')} on {self._cluster.name}")
        try:
            self._workers.run(self._look)
        finally:
            self._display.clear()
        answers = [answer for files in self._tables if (answer := files.answer())]
        shutil.rmtree(self._root, ignore_errors=True)
        for line in dict.fromkeys(line for answer in answers for line in answer.said):
            self._display.say(f"data:   {line}")
        if refusals := [answer.refusal for answer in answers if answer.refusal]:
            raise ConfigError(refusals[0])

    def _look(self, open_tasks: set[int]) -> set[int]:
        """Return the tasks that have ended; start or restart the others."""
        running = self._workers.running(open_tasks)
        for folder in {table.parent for table in self._tables.values()}:
            with suppress(FileNotFoundError):
                list(folder.iterdir())  # Makes files from other machines visible.
        # If a file's properties differ between machines, a worker creates a different table from the one expected.
        done = {files.number for files, table in self._tables.items() if table.exists() or files.answer()} & open_tasks
        self._workers.restart(open_tasks - done, running, self._give_up)
        if rows := sum(status.rows for files in self._tables if (status := files.status())):
            self._display.reading(IngestProgress("reading", rows))
        return done

    def _give_up(self, number: int, why: str) -> None:
        self._workers.stop()
        raise ConfigError(f"The data could not be prepared on {self._cluster.name}: {why}.")


def _order(number: int, config: Config, command: str) -> Order:
    run = RunOrder(signature="", name="", command=command, config=config_yaml(config))
    return new_order(number, [run], command, config.targets.values())
