"""A process that imports everything and forks, so that each child runs a command without importing anything.

Reads lines of JSON, `[seconds, folder, log, words, checkpoints]`: runs `harness WORDS` in the folder, kills it if it is
still running after that many seconds or has written that many checkpoints, and answers with the exit status, negative
for a signal.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from harness.cli import main as command
from harness.runtime.imports import import_tensorflow
from harness.tracking.records import Record

ROOT = Path(__file__).parents[1]


class Warm:
    """Such a process, from the outside."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout
        assert self._out.readline() == "ready\n"

    def run(
        self, folder: Path, *words: str, seconds: float = 600, log: Path | None = None, checkpoints: int = 0
    ) -> int:
        """Run a command for at most so many seconds or checkpoints, and return its exit status."""
        line = json.dumps([seconds, str(folder), str(log or folder / "log"), words, checkpoints])
        print(line, file=self._in, flush=True)
        return int(self._out.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


def child(folder: str, log: str, words: list[str], checkpoints: int) -> None:
    """Run the command in this child."""
    os.setsid()
    if checkpoints:
        die_after(checkpoints)
    os.chdir(folder)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["harness", *words]
    command.main()


def die_after(checkpoints: int) -> None:
    """Let this process write a checkpoint as often as it can, and kill itself after so many of them."""
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
        seconds, folder, log, words, checkpoints = json.loads(line)
        Path(folder).mkdir(exist_ok=True)
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                child(folder, log, words, checkpoints)
            except SystemExit as end:
                code = end.code or 0
            finally:
                os._exit(code)  # type: ignore[arg-type]
        status = ended(pid, seconds)
        if status is None:
            os.killpg(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, flush=True)


if __name__ == "__main__":
    main()
