"""A search's time budget: decisions that depend on the clock are recorded, so that the search can be repeated."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

_RECORD = re.compile(r"(\d+\.\d )*(over)?")


class TimeBudget:
    """Decides at the end of each generation of trials whether there is time for another one.

    Decisions are recorded. A later call for the same search repeats them, so that it arrives at the same trials, and
    counts the time already spent when it makes further decisions.
    """

    def __init__(self, minutes: float) -> None:
        """Start the clock; confirming the best trials takes extra time."""
        self._most = 60 * minutes
        self._spent: list[float] = []  # Seconds until the end of each generation that was followed by another.
        self._is_over = False
        self._since = time.monotonic()
        self.record: Callable[[str], None] = lambda text: None
        """Called with all decisions so far."""

    def repeat(self, recorded: str) -> None:
        """Take over the recorded decisions of an earlier call."""
        if _RECORD.fullmatch(recorded):
            *spent, over = recorded.split(" ")
            self._spent, self._is_over = [float(seconds) for seconds in spent], over == "over"

    def goes_on(self, generations: int) -> bool:
        """Return True if another generation follows the `generations` that have ended.

        The next one is expected to take as long as the last.
        """
        now = time.monotonic()
        if generations <= len(self._spent):
            self._since = now
            return True
        if self._is_over:
            return False
        before = self._spent[-1] if self._spent else 0.0
        spent = before + now - self._since
        if spent + (spent - before) > self._most:
            self._is_over = True
        else:
            self._spent.append(round(spent, 1))
            self._since = now
        self.record("".join(f"{seconds:.1f} " for seconds in self._spent) + ("over" if self._is_over else ""))
        return not self._is_over
