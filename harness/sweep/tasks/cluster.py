"""Where workers run: the interface, and an implementation with processes on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from harness.config.launchers import WorkersConfig
from harness.runtime.cores import cores
from harness.sweep.tasks.files import Job, TaskFiles


class Cluster(Protocol):
    """Starts workers somewhere, and knows which of them are still running.

    Attributes:
        name: Its name in messages.
        is_remote: Whether workers may be on other machines.
        seconds: Time between checks of its jobs and of the files of its tasks; other users share the cluster.
        tasks: Maximum number of tasks set by the user; None lets the cluster decide.
        scratch: Folder on each node's own disk for copies of tables; None makes no copies.
    """

    name: str
    is_remote: bool
    seconds: float
    tasks: int | None
    scratch: str | None = None

    def size(self) -> int:
        """Return how many tasks can run at once."""
        ...

    def cores(self, tasks: int) -> int:
        """Return the number of cores that each worker gets if there are this many tasks."""
        ...

    def submit(self, tasks: Sequence[TaskFiles], logs: Path) -> Iterator[tuple[TaskFiles, Job]]:
        """Start a worker for each task, with its log in the folder `logs`; yield each job as soon as it is submitted.

        Tasks that cannot be started yet are left out; callers pass them again later.

        Raises:
            ConfigError: The cluster rejects them.
        """
        ...

    def alive(self, jobs: Mapping[int, Job]) -> dict[int, str]:
        """Return the states of pending and running jobs by number; jobs that have ended are left out."""
        ...

    def stop(self, jobs: Mapping[int, Job], *, kill: bool = False) -> None:
        """Ask jobs to stop at the next block, or end them at once."""
        ...

    def close(self) -> None:
        """Release resources held for tasks that have not been submitted."""


def work_command(options: Sequence[str] = ()) -> list[str]:
    """Return the command that trains a task, without the path of the task."""
    return [sys.executable, "-P", "-m", "harness", "work", *options]


class Workers(Cluster):
    """Processes on this machine, each with its share of the cores."""

    name, is_remote, seconds = "this machine", False, 0.5

    def __init__(self, config: WorkersConfig, options: Sequence[str] = ()) -> None:
        """Store the launcher's configuration, and options for `harness work`."""
        self.tasks, self._options = config.tasks, options
        self._started: dict[int, tuple[subprocess.Popen, TaskFiles]] = {}
        self._share = 0  # Cores of each process, once the first processes have been started.

    def size(self) -> int:
        """Return the number of cores."""
        return len(cores())

    def cores(self, tasks: int) -> int:
        """Return each worker's share of the cores."""
        return max(self.size() // tasks, 1)

    def submit(self, tasks: Sequence[TaskFiles], logs: Path) -> Iterator[tuple[TaskFiles, Job]]:
        """Start processes that do not receive the terminal's signals, so that only the driver does."""
        logs.mkdir(parents=True, exist_ok=True)
        self._share = self._share or self.cores(len(tasks))
        for task in tasks:
            log = logs / f"{task.number}.log"
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [*work_command(self._options), str(task.order)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            _give_cores(process.pid, self._share, task.number)
            self._started[task.number] = process, task
            yield task, Job(_identity(process.pid), str(log.absolute()))

    def alive(self, jobs: Mapping[int, Job]) -> dict[int, str]:
        """Return the jobs whose processes are running, including those that an earlier driver started."""
        found = {}
        for number, job in jobs.items():
            process, task = self._started.get(number, (None, None))
            if process is None:
                if _process(job):
                    found[number] = "running"
            elif (code := process.poll()) is None:
                found[number] = "running"
            elif task:
                task.note_exit(128 - code if code < 0 else code)
                del self._started[number]
        return found

    def stop(self, jobs: Mapping[int, Job], *, kill: bool = False) -> None:
        """Send SIGTERM, or SIGKILL."""
        for job in jobs.values():
            if process := _process(job):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)


def _give_cores(pid: int, share: int, number: int) -> None:
    """Pin a new process, and the threads that it will start, to `share` cores; tasks get different cores."""
    own = cores()
    start = (number - 1) * share % len(own)
    with contextlib.suppress(AttributeError, OSError):  # Only Linux supports this.
        os.sched_setaffinity(pid, [own[(start + offset) % len(own)] for offset in range(share)])


def _identity(pid: int) -> str:
    """Identify a process by its id and start time, since ids are reused."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return f"{pid} {psutil.Process(pid).create_time()}"
    return f"{pid} 0"


def _process(job: Job) -> psutil.Process | None:
    """Return a job's process, or None if it has ended."""
    pid, _, start = job.id.partition(" ")
    with contextlib.suppress(psutil.NoSuchProcess, ValueError):
        process = psutil.Process(int(pid))
        if abs(process.create_time() - float(start)) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None
