"""A process that imports everything and forks, so that each child runs a command without importing anything.

Reads lines of JSON: a `Job`. Runs its command, kills it if it takes too long or has written the given number of
checkpoints, and answers with the exit status, negative for a signal.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import resource
import signal
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


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes:
        folder: The working folder.
        words: The command's arguments.
        log: Where its output is appended.
        seconds: When it is killed.
        checkpoints: Number of checkpoints after which it kills itself; 0 means never.
        environment: Variables to set, or to remove if None.
        limits: Soft limits by name, such as `RLIMIT_NOFILE`.
        obeys_permissions: Whether permissions apply to the superuser too.
    """

    folder: str
    words: Sequence[str]
    log: str
    seconds: float = 180
    checkpoints: int = 0
    environment: Mapping[str, str | None] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    obeys_permissions: bool = False


class Warm:
    """A handle on such a process."""

    def __init__(self, path: Path = ROOT) -> None:
        """Start it; modules are imported from `path` first."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])}
        command, pipe = [sys.executable, "-m", "tests.warm"], subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=path, env=environment)
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout
        assert self._out.readline() == "ready\n"

    def run(self, folder: Path, *words: str, log: Path | None = None, **options: Any) -> int:
        """Run a command and return its exit status; see `Job` for the options."""
        job = Job(str(folder), words, str(log or folder / "log"), **options)
        print(json.dumps(asdict(job)), file=self._in, flush=True)
        return int(self._out.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


def child(job: Job) -> None:
    """Run the command in this child."""
    os.setsid()
    if job.checkpoints:
        die_after(job.checkpoints)
    os.chdir(job.folder)
    out = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
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


def main() -> None:
    """Import everything, then serve commands."""
    import_tensorflow()
    import harness.analysis.figures
    import harness.analysis.render
    import harness.sweep.runner  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        job = Job(**json.loads(line))
        Path(job.folder).mkdir(exist_ok=True)
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                child(job)
            except SystemExit as end:
                code = end.code or 0
            finally:
                os._exit(code)  # type: ignore[arg-type]
        status = ended(pid, job.seconds)
        if status is None:
            os.killpg(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, flush=True)


if __name__ == "__main__":
    main()
