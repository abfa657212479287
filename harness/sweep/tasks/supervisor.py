"""Starts the workers of tasks, restarts those that fail, and stops them when the driver is stopped."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from harness.errors import ConfigError
from harness.runtime.signals import defer_signals
from harness.sweep.display import Display
from harness.sweep.tasks.attempts import Attempts
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.files import Job, TaskFiles
from harness.tracking.outbox import LeaseLost

POLL_SECONDS = 0.5
"""Time between checks for a signal, which does not interrupt a wait."""


class Supervisor:
    """The workers of some tasks, including those that an earlier driver has started.

    Attributes:
        attempts: The workers that each task has had, by the task's number.
        states: The states of the jobs that were pending or running at the last check.
    """

    def __init__(self, cluster: Cluster, tasks: Iterable[TaskFiles], logs: Path, display: Display) -> None:
        """Find the tasks' workers; those started later have their logs in the folder `logs`."""
        self._cluster, self._logs, self._display = cluster, logs, display
        self._files = {files.number: files for files in tasks}
        found = {number: job for number, files in self._files.items() if (job := files.job())}
        self.states = cluster.alive(found)
        self._jobs = {number: job for number, job in found.items() if number in self.states}
        self.attempts = {number: Attempts(files) for number, files in self._files.items()}

    def run(
        self, look: Callable[[set[int]], set[int]], stopped: Callable[[set[int]], None] = lambda tasks: None
    ) -> None:
        """Return once all tasks have ended.

        Args:
            look: Called regularly with the tasks that have not ended; returns those that have.
            stopped: Called with the tasks whose workers were stopped or killed because of a signal.
        """
        open_tasks = {*self._files}
        try:
            with defer_signals() as stop:
                next_look = -math.inf
                while open_tasks and not stop:
                    if time.monotonic() >= next_look:
                        open_tasks -= look(open_tasks)
                        next_look = time.monotonic() + self._cluster.seconds
                    if open_tasks and not stop:
                        time.sleep(POLL_SECONDS)
                is_gone = stop.number == signal.SIGHUP and self._cluster.is_remote  # Only the terminal is gone.
                if stop and not is_gone:
                    self.stop(open_tasks)
                    self.await_exits(open_tasks)
                    stopped(open_tasks)
        except (KeyboardInterrupt, SystemExit):
            self.stop(open_tasks, kill=True)
            stopped(open_tasks)
            raise
        except LeaseLost:  # Another driver may already be training the runs.
            with suppress(ConfigError, OSError):
                self.stop(open_tasks)
            raise
        except BaseException:
            if not self._cluster.is_remote:  # Remote workers keep running, and the next driver finds them.
                self.stop(open_tasks)
            raise
        if stop:
            stop.exit()

    def running(self, tasks: set[int]) -> set[int]:
        """Return which of the tasks have a worker, or a job that is pending."""
        self.states = self._cluster.alive(self._jobs_of(tasks))
        for folder in {self._files[number].order.parent for number in tasks}:
            with suppress(FileNotFoundError):  # Another driver that prepares the same tables has finished.
                list(folder.iterdir())  # On a network file system, this makes files from other machines visible.
        # A worker may still be running even if its job is unknown or the cluster has given it up.
        return {number for number in tasks if number in self.states or self._files[number].is_held}

    def restart(
        self,
        tasks: set[int],
        running: set[int],
        give_up: Callable[[int, str], None],
        may_submit: Callable[[], bool] = lambda: True,
    ) -> set[int]:
        """Start workers for the tasks that have none, and return the tasks that are given up.

        Args:
            tasks: The tasks, none of which has ended.
            running: Those that had a worker before it was determined which tasks have ended; otherwise, a worker that
                ended in between would be taken for a failed one.
            give_up: Called with the number of each task whose workers have failed too often, and the reason.
            may_submit: Whether workers may be started now; if not, a later call starts them.
        """
        given_up, waiting = set[int](), list[TaskFiles]()
        for number in sorted(tasks):
            attempts, is_alive = self.attempts[number], number in running
            if said := attempts.look(self._jobs.get(number), is_alive):
                self._display.say(said)
            if not is_alive and attempts.defeat:
                give_up(number, attempts.defeat)
                given_up.add(number)
            elif not is_alive:
                waiting.append(self._files[number])
        for files, job in self._cluster.submit(waiting, self._logs) if waiting and may_submit() else ():
            files.write_job(job)
            self._jobs[files.number] = job
            self.attempts[files.number].started()
        return given_up

    def stop(self, tasks: set[int] | None = None, *, kill: bool = False) -> None:
        """Ask the workers of these tasks, or of all, to stop at the next block, or end them at once."""
        self._cluster.stop(self._jobs_of(tasks), kill=kill)

    def await_exits(self, tasks: set[int] | None = None, seconds: float = math.inf) -> None:
        """Wait for the workers of these tasks, or of all, to exit, for at most `seconds`."""
        deadline, jobs, pause = time.monotonic() + seconds, self._jobs_of(tasks), POLL_SECONDS / 2
        while time.monotonic() < deadline and (jobs := {n: jobs[n] for n in self._cluster.alive(jobs)}):
            time.sleep(pause)
            pause = min(2 * pause, self._cluster.seconds)

    def _jobs_of(self, tasks: set[int] | None) -> dict[int, Job]:
        return {number: job for number, job in self._jobs.items() if tasks is None or number in tasks}
