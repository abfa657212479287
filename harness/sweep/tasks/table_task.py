"""A worker that creates the table of a sweep's data, before any other task starts. It does not import TensorFlow."""

from __future__ import annotations

from pathlib import Path

from harness.config import Config
from harness.data.tables.builder import open_table
from harness.errors import ConfigError
from harness.runtime.secrets import masked
from harness.sweep.tasks.files import LOCK_SECONDS, Answer, StatusReporter, TaskFiles


def make_table(files: TaskFiles, config: Config) -> None:
    """Create the table of a configuration's data in the cache, and write the outcome for the driver.

    Raises:
        ConfigError: The data cannot be used; the outcome says why.
        TaskHeld: Another worker holds the task.
    """
    said: list[str] = []
    with files.hold(LOCK_SECONDS):
        status = StatusReporter(files)
        try:
            cache = Path(config.runtime.cache).absolute()
            open_table(config.data, cache, lambda state: status.report(rows=state.rows), said.append)
        except ConfigError as error:
            files.write_answer(Answer(masked(str(error)), tuple(map(masked, said))))
            raise
        files.write_answer(Answer("", tuple(map(masked, said))))
