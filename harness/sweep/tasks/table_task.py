"""A worker that creates the table of a sweep's data, before any other task starts. It does not import TensorFlow."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from harness.config import Config
from harness.data.ingest import IngestProgress
from harness.data.tables.builder import open_table
from harness.errors import ConfigError
from harness.runtime.secrets import masked
from harness.sweep.tasks.files import Answer, Status, TaskFiles
from harness.sweep.tasks.order import Order

STATUS_SECONDS = 1.0
"""Time between status updates."""

LOCK_SECONDS = 30.0
"""How long a worker waits for its predecessor to end."""


def make_table(files: TaskFiles, order: Order, config: Config) -> None:
    """Create the table of a configuration's data in the cache, and write the outcome for the driver.

    Raises:
        ConfigError: The data cannot be used; the outcome says why.
        TaskHeld: Another worker holds the task.
    """
    said: list[str] = []
    with files.hold(LOCK_SECONDS):
        try:
            open_table(config.data, Path(config.runtime.cache).absolute(), _Reading(files), said.append)
        except ConfigError as error:
            files.write_answer(Answer(masked(str(error)), tuple(map(masked, said))))
            raise
        files.write_answer(Answer("", tuple(map(masked, said))))


class _Reading:
    """Reports how many rows have been read."""

    def __init__(self, files: TaskFiles) -> None:
        self._files, self._node, self._next = files, socket.gethostname(), 0.0

    def __call__(self, state: IngestProgress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + STATUS_SECONDS
            self._files.write_status(Status(self._node, rows=state.rows))
