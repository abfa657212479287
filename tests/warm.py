"""A process that imports everything and forks, so that each child runs a command without importing anything.

Each connection to its socket brings a line of JSON: a `Job`. A child runs the job's command, kills it if it takes too
long or has written the given number of checkpoints, and answers with the exit status, negative for a signal. Jobs run
at the same time if they come from several threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.cli import main as command
from harness.runtime.imports import import_tensorflow
from harness.tracking.records import Record

ROOT = Path(__file__).parents[1]

SETTINGS = ("MLFLOW_", "HYDRA_", "COLUMNS")
"""How variables begin that commands would obey, and that tests in this process may leave behind."""

LATE = (
    "alembic.command",
    "harness.analysis.figures",
    "harness.analysis.render",
    "harness.cli.app",
    "harness.cli.next_steps",
    "harness.cli.train",
    "harness.sweep.runner",
    "hydra._internal.hydra",
    "hydra_plugins.harness_plugin",
    "matplotlib.backends.backend_svg",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "pyarrow.pandas_compat",
    "pygments.formatters.html",
    "sklearn.ensemble",
    "sklearn.inspection",
)
"""Modules that a command imports when it needs them; together they take a second."""


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes:
        folder: The working folder.
        words: The command's arguments.
        log: Where its output is appended.
        errors: Where its standard error is appended; by default `log`.
        seconds: When it is killed.
        checkpoints: Number of checkpoints after which it kills itself; 0 means never.
        environment: Variables to set, or to remove if None.
        limits: Soft limits by name, such as `RLIMIT_NOFILE`.
        obeys_permissions: Whether permissions apply to the superuser too.
    """

    folder: str
    words: Sequence[str]
    log: str
    errors: str = ""
    seconds: float = 180
    checkpoints: int = 0
    environment: Mapping[str, str | None] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    obeys_permissions: bool = False


class Warm:
    """A handle on such a process."""

    def __init__(self, path: Path = ROOT) -> None:
        """Start it; modules are imported from `path` first."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        environment["PYTHONPATH"] = os.pathsep.join([str(path), str(ROOT)])
        command, pipe = [sys.executable, "-m", "tests.warm"], subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=path, env=environment)
        assert self._process.stdout
        self._address = self._process.stdout.readline().rstrip("\n")
        assert self._address

    def run(self, folder: Path, *words: str, log: Path | None = None, **options: Any) -> int:
        """Run a command and return its exit status; see `Job` for the options."""
        job = Job(str(folder), words, str(log or folder / "log"), **options)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._address)
            with connection.makefile("rw") as stream:
                print(json.dumps(asdict(job)), file=stream, flush=True)
                return int(stream.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


def child(job: Job) -> None:
    """Run the command in this child."""
    os.setsid()
    if job.checkpoints:
        die_after(job.checkpoints)
    os.chdir(job.folder)
    for descriptor, path in ((1, job.log), (2, job.errors or job.log)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    for name, value in job.environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    tempfile.tempdir = None  # Determined again, since TMPDIR may have changed.
    for name, value in job.limits.items():
        kind = getattr(resource, name)
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
    if job.obeys_permissions:
        obey_permissions()
    sys.argv = ["harness", *job.words]
    command.main()


def obey_permissions() -> None:
    """Drop the capabilities CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which the superuser ignores permissions."""
    libc = ctypes.CDLL(None)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        for index in (0, 1):  # Effective and permitted.
            sets[index] &= ~0b110
        libc.capset(header, sets)


def die_after(checkpoints: int) -> None:
    """Let this process write checkpoints as often as it can, and kill itself after this many."""
    from harness.sweep.checkpoint import Checkpoint
    from harness.tracking.record_buffer import RecordBuffer

    left = itertools.count(checkpoints - 1, -1)
    release = RecordBuffer.release

    def release_and_die(self: RecordBuffer, records: Iterable[Record]) -> None:
        release(self, records)
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoint.due = True  # type: ignore[assignment]
    RecordBuffer.release = release_and_die


def ended(pid: int, seconds: float) -> int | None:
    """Return the exit status of a child; None if it has not ended in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def answer(connection: socket.socket, listener: socket.socket) -> None:
    """Run the job of a connection in a child of this process, and send its exit status."""
    stream = connection.makefile("rw")
    job = Job(**json.loads(stream.readline()))
    Path(job.folder).mkdir(exist_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            for each in (stream, connection, listener):
                each.close()
            child(job)
        except SystemExit as end:
            code = end.code or 0
        finally:
            os._exit(code)  # type: ignore[arg-type]
    status = ended(pid, job.seconds)
    if status is None:
        os.killpg(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(status, file=stream, flush=True)


def main() -> None:
    """Import everything, print the address of the socket, and serve commands until standard input ends."""
    import_tensorflow()
    for name in LATE:
        importlib.import_module(name)
    # Addresses are short.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        listener.listen()
        print(listener.getsockname(), flush=True)
        while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
            with listener.accept()[0] as connection:
                if os.fork() == 0:
                    try:
                        answer(connection, listener)
                    finally:
                        os._exit(0)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


if __name__ == "__main__":
    main()
