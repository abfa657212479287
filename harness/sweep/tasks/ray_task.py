"""A worker inside a Ray actor. It runs in the actor's own process, since children outlive an actor that is killed."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.sweep.tasks.files import TaskFiles

STOP_SECONDS = 5.0
"""Time between two looks at whether a worker is to stop."""


def stop_file(log: str) -> Path:
    """Return the file that asks the worker with this log to stop."""
    return Path(log).with_suffix(".stop")


class RayTask:
    """An actor that trains a task while it is constructed, then exits.

    A call would be lost if the driver died before the actor had started, and the actor would keep its cores forever.
    """

    def __init__(self, order: str, log: str, options: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run `harness work ORDER` with the driver's environment; its output goes to `log`.

        Raises:
            SystemExit: Always, with the command's exit code.
        """
        os.environ.update(environment)
        _write_to(log)
        threading.Thread(target=_await_stop, args=(stop_file(log),), daemon=True).start()
        sys.argv = ["harness", "work", *options, order]
        try:
            runpy.run_module("harness", run_name="__main__")
        except SystemExit as end:
            if end.code:
                TaskFiles(Path(order)).note_exit(end.code if isinstance(end.code, int) else 1)
            raise


def _write_to(log: str) -> None:
    """Send standard output and standard error to a file, as a shell would."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]


def _await_stop(file: Path) -> None:
    """Send SIGTERM to this process once the file is there."""
    while True:
        with suppress(OSError):  # On a network file system, a call may fail now and then.
            # Listing the folder makes files of other machines visible there.
            if file.name in os.listdir(file.parent):  # noqa: PTH208
                break
        time.sleep(STOP_SECONDS)
    with suppress(OSError):
        file.unlink()
    os.kill(os.getpid(), signal.SIGTERM)
