"""Shows the progress of tasks, one row per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from harness.formatting import count, millions
from harness.runtime.secrets import shown
from harness.sweep.plan import Run
from harness.sweep.tasks.files import Status

MOST_ROWS = 20
"""Maximum number of tasks to list; those that have not ended come first."""


class TaskRow(NamedTuple):
    """A task's number and runs, its worker's status, its number of failed workers, and the state of its job."""

    number: int
    runs: Sequence[Run]
    status: Status | None
    failures: int
    state: str = ""

    @property
    def has_ended(self) -> bool:
        """True once all of its runs have ended and their results have been taken over."""
        return all(run.status for run in self.runs)

    @property
    def is_waiting(self) -> bool:
        """True if no worker is training it now; an earlier worker's status may still be there."""
        return not self.status or self.state.startswith("pending")

    @property
    def ended(self) -> int:
        """Number of its runs that have ended."""
        return len(self.runs) if self.has_ended else self.status.ended if self.status else 0


def tasks_view(rows: Sequence[TaskRow]) -> Table:
    """Return a table with a row for each task."""
    table = Table("task", "node", box=None, padding=(0, 2, 0, 0))
    for column in ("epoch", "runs", "rows/s", "restarts"):
        table.add_column(column, justify="right")
    table.add_column("best")
    for row in sorted(rows, key=lambda row: (row.has_ended, row.number))[:MOST_ROWS]:
        status, runs = row.status, f"{row.ended}/{len(row.runs)}"
        if row.has_ended or not status or row.is_waiting:
            waits = row.state if row.state not in ("", "pending", "running") else "waiting"
            cells = ("", runs, "", str(row.failures or ""), "ended" if row.has_ended else waits)
        else:
            epoch = f"{status.epoch}/{status.epochs}" if status.epoch else "compiling" if status.epochs else "starting"
            cells = (epoch, runs, millions(status.rate) if status.rate else "", str(row.failures or ""), status.best)
        table.add_row(str(row.number), Text(shown(status.node if status else "")), *cells[:-1], Text(shown(cells[-1])))
    return table


def progress_of(rows: Sequence[TaskRow]) -> str:
    """Return the progress of tasks as text, for output that is not a terminal."""
    rate = sum(row.status.rate for row in rows if row.status and not (row.has_ended or row.is_waiting))
    ended, runs = sum(row.ended for row in rows), sum(len(row.runs) for row in rows)
    left = sum(not row.has_ended for row in rows)
    words = f"{count(left, 'task')} to go, {ended}/{count(runs, 'run')}"
    return words + (f", {millions(rate)} rows/s" if rate else "")
