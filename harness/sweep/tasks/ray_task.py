"""A worker inside a Ray actor. It runs in the actor's own process, since children outlive an actor that is killed."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.runtime.imports import import_tensorflow
from harness.runtime.signals import SIGNALS
from harness.sweep.tasks.files import TaskFiles

STOP_SECONDS = 5.0
"""Time between checks for a request to stop."""

IDLE_SECONDS = 30.0
"""How long an actor waits for a task; a driver that is alive ends it earlier."""


def stop_file(log: str) -> Path:
    """Return the file that asks the worker with this log to stop."""
    return Path(log).with_suffix(".stop")


class RayTasks:
    """An actor that trains one task after another, reusing its imports and compiled loops."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Prepare for tasks of the driver with this environment."""
        os.environ.update(environment)
        import_tensorflow()
        importlib.import_module("harness.sweep.tasks.worker")
        self._wait()

    def train(self, order: str, log: str, options: Sequence[str]) -> None:
        """Run `harness work ORDER`; its output goes to `log`.

        Raises:
            SystemExit: The command has failed. Ray then ends the actor, so a failure cannot affect another task.
        """
        self._exit.cancel()
        code = 1
        try:
            with _own_state(), _output_to(log), _stopped_by(stop_file(log)):
                sys.argv = ["harness", "work", *options, order]
                try:
                    runpy.run_module("harness", run_name="__main__")
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else int(bool(end.code))
        finally:
            if code:
                TaskFiles(Path(order)).note_exit(code)
        if code:
            sys.exit(code)
        gc.collect()  # The next task starts by freezing all objects that are left.
        self._wait()

    def _wait(self) -> None:
        """Exit after a while unless there is another task."""
        self._exit = threading.Timer(IDLE_SECONDS, os._exit, [0])
        self._exit.daemon = True
        self._exit.start()


@contextlib.contextmanager
def _own_state() -> Iterator[None]:
    """Undo what a command changes in its process: environment, working folder, arguments, paths and signal handlers."""
    environment, folder, words, path = dict(os.environ), Path.cwd(), sys.argv, list(sys.path)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.argv, sys.path[:] = words, path
        os.chdir(folder)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


@contextlib.contextmanager
def _output_to(log: str) -> Iterator[None]:
    """Send standard output and standard error to a file, as a shell would."""
    names = "stdout", "stderr", "__stdout__", "__stderr__"
    streams, before = {name: getattr(sys, name) for name in names}, [os.dup(number) for number in (1, 2)]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        for name, stream in streams.items():
            setattr(sys, name, stream)
        for number, descriptor in zip((1, 2), before, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


@contextlib.contextmanager
def _stopped_by(file: Path) -> Iterator[None]:
    """Send SIGTERM to this process if the file appears during the block."""
    has_ended = threading.Event()
    watcher = threading.Thread(target=_await_stop, args=(file, has_ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        has_ended.set()
        watcher.join()
        with suppress(OSError):
            file.unlink()


def _await_stop(file: Path, has_ended: threading.Event) -> None:
    while not has_ended.is_set():
        with suppress(OSError):  # On a network file system, a call may fail now and then.
            # Listing the folder makes files of other machines visible there.
            if file.name in os.listdir(file.parent):  # noqa: PTH208
                os.kill(os.getpid(), signal.SIGTERM)
                return
        has_ended.wait(STOP_SECONDS)
