"""How the workers of a task have ended while this driver watches it, and whether another one is to be started."""

from __future__ import annotations

from harness.sweep.tasks.files import STOPPED, TRY_AGAIN, Job, TaskFiles, reason

MOST_FAILURES = 3
"""Workers that may fail on a task before its runs fail."""

MOST_STOPS = 3
"""Workers in a row that may be stopped before they get further than those before them."""

DISAPPEARED = 0
"""Noted of a worker that has ended without a result and without a word."""


class Attempts:
    """The workers that a task has had since this driver has started.

    What happened before does not count: workers that end together with their driver have not failed.

    Attributes:
        failures: How many have failed.
    """

    def __init__(self, files: TaskFiles) -> None:
        files.forget_exits()
        self._files = files
        self.failures = self._stops = self._seen = self._at_start = 0
        self._furthest = (0, 0, 0)
        self._was_stopped = False
        self._why = ""

    def started(self) -> None:
        """Take note that another worker has been submitted."""
        self._at_start = self._seen

    def look(self, job: Job | None, is_alive: bool) -> str:
        """Take note of the workers that have ended since the last look.

        Args:
            job: The task's job; None if this driver knows of none.
            is_alive: Whether it waits or runs, perhaps because its cluster has put it back into the queue.

        Returns:
            Why the last of them has ended and what follows, as a sentence; empty if none has.
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
        if self._was_stopped and not is_alive:  # A cluster may put a job back into its queue as often as it likes.
            self._was_stopped = False
            self._count_stop()
        if not new or not job:
            return ""
        prefix = f"task {self._files.number}: "
        self._why = prefix + reason(new[-1], job.log).removeprefix(prefix)
        return f"{self._why}; {self._verdict or 'starting it again'}"

    @property
    def defeat(self) -> str:
        """Why no other worker is to be started, as a sentence; empty if one may be."""
        return f"{self._why}; {self._verdict}" if self._verdict else ""

    @property
    def _verdict(self) -> str:
        if self.failures >= MOST_FAILURES:
            return f"it has failed {self.failures} times"
        if self._stops >= MOST_STOPS:
            return f"it was stopped {self._stops} times and got no further"
        return ""

    def _count_stop(self) -> None:
        status = self._files.status()
        reached = (status.ended, status.epoch, status.rows) if status else (0, 0, 0)
        self._stops = 1 if reached > self._furthest else self._stops + 1
        self._furthest = max(self._furthest, reached)
