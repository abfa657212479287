"""Tracks how a task's workers end while this driver runs, and decides whether to start another one."""

from __future__ import annotations

from harness.sweep.tasks.files import STOPPED, TRY_AGAIN, Job, TaskFiles, reason
from harness.sweep.tasks.order import REFUSED

MOST_FAILURES = 3
"""Number of workers that may fail before the task's runs fail."""

MOST_STOPS = 3
"""Number of consecutive stops without progress after which the task's runs fail."""

DISAPPEARED = 0
"""Exit code noted for a worker that ended without a result or a message."""


class Attempts:
    """The workers that a task has had since this driver started.

    Earlier workers do not count, because a worker that ends together with its driver has not failed.

    Attributes:
        failures: Number of workers that have failed.
        refusal: Why a worker has refused to train the task; empty if none has.
    """

    def __init__(self, files: TaskFiles) -> None:
        files.forget_exits()
        self._files = files
        self.failures = self._stops = self._seen = self._at_start = 0
        self._furthest = (0, 0, 0)
        self._was_stopped = False
        self._why = self.refusal = ""

    def started(self) -> None:
        """Note that another worker has been submitted."""
        self._at_start = self._seen

    def look(self, job: Job | None, is_alive: bool) -> str:
        """Note the workers that have ended since the last check.

        Args:
            job: The task's job; None if this driver does not know of one.
            is_alive: Whether the job is waiting or running, possibly because its cluster has requeued it.

        Returns:
            A sentence saying why the last of them ended and what happens next; empty if none has ended.
        """
        codes = self._files.exits()
        if job and not is_alive and len(codes) <= self._at_start:
            self._files.note_exit(DISAPPEARED)
            codes.append(DISAPPEARED)
        new, self._seen = codes[self._seen :], len(codes)
        if new:
            self.failures += sum(code not in (*STOPPED, TRY_AGAIN) for code in new)
            self._was_stopped = new[-1] in STOPPED
            self._stops = self._stops if self._was_stopped else 0
        if self._was_stopped and not is_alive:  # A cluster may requeue a job any number of times.
            self._was_stopped = False
            self._count_stop()
        if not new or not job:
            return ""
        prefix = f"task {self._files.number}: "
        self._why = prefix + reason(new[-1], job.log).removeprefix(prefix)
        self.refusal = self._why if REFUSED in new else self.refusal
        return f"{self._why}; {self._verdict or 'starting it again'}"

    @property
    def defeat(self) -> str:
        """A sentence saying why no other worker is started; empty if one may be started."""
        return f"{self._why}; {self._verdict}" if self._verdict else ""

    @property
    def _verdict(self) -> str:
        if self.refusal:
            return "it is not started again"
        if self.failures >= MOST_FAILURES:
            return f"it has failed {self.failures} times"
        if self._stops >= MOST_STOPS:
            return f"it was stopped {self._stops} times and made no progress"
        return ""

    def _count_stop(self) -> None:
        status = self._files.status()
        reached = (status.ended, status.epoch, status.rows) if status else (0, 0, 0)
        self._stops = 1 if reached > self._furthest else self._stops + 1
        self._furthest = max(self._furthest, reached)
