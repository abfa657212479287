"""The files of a sweep's tasks, in a folder that the driver and all workers can access."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from harness.runtime.state_files import StateError, read_json, set_aside, write_json
from harness.sweep.checkpoint_facts import RecorderFacts
from harness.sweep.saved_arrays import read_arrays, write_arrays

T = TypeVar("T")

_STATUS_KIND, _RESULT_KIND, _JOB_KIND, _ANSWER_KIND = "task status 1", "task result 1", "task job 1", "task answer 1"
_RESULT: TypeAdapter[Any] = TypeAdapter(RecorderFacts)


@dataclass(frozen=True)
class Status:
    """A task's progress as reported by its worker; `rows` are counted over all epochs."""

    node: str
    epoch: int = 0
    epochs: int = 0
    rows: int = 0
    total: int = 0
    rate: float = 0.0  # Rows per second.
    ended: int = 0  # Runs.
    best: str = ""


@dataclass(frozen=True)
class Job:
    """The cluster's id for a task, the file with its worker's output and, if the cluster needs it, the task file."""

    id: str
    log: str
    order: str = ""


@dataclass(frozen=True)
class Answer:
    """The outcome of creating a table: why the data was rejected, and messages about it."""

    refusal: str = ""
    said: tuple[str, ...] = ()


class TaskHeld(Exception):
    """Another worker holds the task; the message is a sentence."""


_STATUS, _JOB, _ANSWER = TypeAdapter(Status), TypeAdapter(Job), TypeAdapter(Answer)


class TaskFiles:
    """The files of one task, whose names contain its number.

    Attributes:
        order: The task file, which describes what to train.
    """

    def __init__(self, order: Path) -> None:
        self.order = order
        self._status, self._result, self._answer, self._job, self._exits, self._lock = (
            order.with_suffix(f".{name}") for name in ("status", "result", "answer", "job", "exits", "lock")
        )

    @classmethod
    def numbered(cls, folder: Path, number: int) -> TaskFiles:
        """Return the files of a task in the folder of all tasks."""
        return cls(folder / f"{number}.json")

    @property
    def number(self) -> int:
        """The task's number."""
        return int(self.order.stem)

    @contextlib.contextmanager
    def hold(self, timeout: float) -> Iterator[None]:
        """Hold the task during the block, so that no other worker takes it while this process is alive.

        Raises:
            TaskHeld: Another worker did not end in time.
        """
        lock = FileLock(self._lock)
        try:
            lock.acquire(timeout=timeout)
        except Timeout as error:
            raise TaskHeld(f"task {self.number} is held by another worker.") from error
        try:
            yield
        finally:
            lock.release()

    @property
    def is_held(self) -> bool:
        """Whether a worker holds the task; one on another machine is seen only if `flock` works across machines."""
        lock = FileLock(self._lock)
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=False)
            lock.release()
            return False
        return True

    def note_exit(self, code: int) -> None:
        """Append a line for a worker that ended without a result: exit code, node and time."""
        with self._exits.open("a", encoding="utf-8") as file:
            file.write(f"{code} {socket.gethostname()} {time.time():.0f}\n")

    def exits(self) -> list[int]:
        """Return the exit codes of workers that have ended without a result."""
        with contextlib.suppress(FileNotFoundError):
            lines = self._exits.read_text(encoding="utf-8", errors="replace").splitlines()
            return [int(line.split()[0]) for line in lines if line.partition(" ")[0].isdecimal()]
        return []

    def forget_exits(self) -> None:
        """Clear the exit codes."""
        self._exits.unlink(missing_ok=True)

    def write_status(self, status: Status) -> None:
        """Replace the status."""
        write_json(self._status, _STATUS_KIND, asdict(status), durable=False)

    def status(self) -> Status | None:
        """Return the status, or None if there is none yet."""
        return _read(self._status, _STATUS_KIND, _STATUS)

    def write_job(self, job: Job) -> None:
        """Write the task's job."""
        write_json(self._job, _JOB_KIND, asdict(job))

    def job(self) -> Job | None:
        """Return the task's job, or None if it was never submitted."""
        return _read(self._job, _JOB_KIND, _JOB)

    def write_result(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Write the final state of the worker's recorder."""
        write_arrays(self._result, _RESULT_KIND, facts, arrays)

    def result(self) -> tuple[RecorderFacts, dict[str, np.ndarray]] | None:
        """Return the result; None if the task has not ended. A damaged result is set aside."""
        try:
            return read_arrays(self._result, _RESULT_KIND, _RESULT)
        except FileNotFoundError:
            return None
        except StateError:
            set_aside(self._result)
            return None

    def write_answer(self, answer: Answer) -> None:
        """Write the outcome of creating a table."""
        write_json(self._answer, _ANSWER_KIND, asdict(answer))

    def answer(self) -> Answer | None:
        """Return the outcome of creating a table; None if it is not known yet."""
        return _read(self._answer, _ANSWER_KIND, _ANSWER)

    def drop_answer(self) -> None:
        """Delete the outcome that an earlier worker wrote."""
        self._answer.unlink(missing_ok=True)

    def drop_result(self) -> None:
        """Delete the result."""
        self._result.unlink(missing_ok=True)


STATUS_SECONDS = 1.0
"""Time between status updates."""

LOCK_SECONDS = 30.0
"""How long a worker waits for its predecessor to end."""


class StatusReporter:
    """Writes the status of a task for the driver, from this machine."""

    def __init__(self, files: TaskFiles) -> None:
        """Report that the worker has started."""
        self._files, self._node, self._next = files, socket.gethostname(), 0.0
        files.write_status(Status(self._node))

    def report(self, **progress: Any) -> None:
        """Write fields of the status, unless a status was written less than a second ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + STATUS_SECONDS
            self._files.write_status(Status(self._node, **progress))


STOPPED = (129, 130, 143)
"""Exit codes of workers that were asked to stop: by a closed terminal, Ctrl-C, or SIGTERM."""

TRY_AGAIN = 75
"""Exit code of workers that could not train now: another worker holds the task, or the store is unreachable."""


def reason(code: int, log: str) -> str:
    """Return why a worker ended (its last error, or the signal that killed it), and the path of its log."""
    said = ""
    with contextlib.suppress(OSError):
        lines = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
        said = next((line for line in reversed(lines) if line.startswith("harness: ")), "")
    if code > 128:
        why = f"{'stopped' if code in STOPPED else 'killed'} by signal {code - 128}"
    elif said:
        why = said.removeprefix("harness: ").rstrip(".")
    else:
        why = f"exit code {code}" if code else "it disappeared"
    return f"{why} (log: {log})"


def _read(path: Path, kind: str, schema: TypeAdapter[T]) -> T | None:
    """Return what a file contains, or None if it is missing or damaged."""
    with contextlib.suppress(OSError, StateError):
        return read_json(path, kind, schema)
    return None
