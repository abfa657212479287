"""A process that imports everything and forks, so that each child runs a command without importing anything.

Reads lines of JSON, `[seconds, folder, log, words]`: runs `harness WORDS` in the folder, kills it if it is still
running after that many seconds, and answers with the exit status, negative for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from harness.cli import main as command
from harness.runtime.imports import import_tensorflow


def child(folder: str, log: str, words: list[str]) -> None:
    """Run the command in this child."""
    os.setsid()
    os.chdir(folder)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["harness", *words]
    command.main()


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
        seconds, folder, log, words = json.loads(line)
        Path(folder).mkdir(exist_ok=True)
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                child(folder, log, words)
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
