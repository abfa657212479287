"""Shows a sweep's progress: a live line on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from harness.data.ingest import IngestProgress
from harness.formatting import count, millions
from harness.runtime.secrets import shown

PLAIN_SECONDS = 10.0  # Time between lines if the output is not a terminal.


class Display:
    """Prints lines, and shows the progress of the current work."""

    def __init__(self, console: Console | None = None) -> None:
        """Show progress in `console`, by default on standard output."""
        self.console = console = console or Console()
        # In notebooks, Rich can draw only with ipywidgets.
        self._is_live = console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
        self._bar: Progress | None = None
        self._table: Live | None = None
        self._last_line = time.monotonic()
        # The first report on the current work: its name, the time, and the progress.
        self._first: tuple[str, float, tuple[int, ...]] | None = None

    def say(self, *lines: str) -> None:
        """Print lines, with secrets masked and control characters escaped."""
        for line in (shown(" ".join(line.splitlines())) for line in lines):
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def reading(self, state: IngestProgress) -> None:
        """Show how much of a source has been read or generated."""
        rows, size = self._rates(f"{state.what} data", state.rows, state.bytes)
        if self._bar is None and not self._is_due(first=1.0):
            return
        parts = [f"{millions(state.rows)} rows", *([f"{millions(rows)} rows/s"] if rows else [])]
        if size:
            parts.append(f"{size / 1e6:.0f} MB/s")
        if size and state.total:
            parts.append(_remaining((state.total - state.bytes) / size))
        self._show(f"{state.what} data", state.bytes, state.total or None, parts)

    def training(
        self, epoch: int, epochs: int, rows: int, total: int, ended: int, runs: int, best: str = "", note: str = ""
    ) -> None:
        """Show a scan's progress: `rows` of `total` over all epochs, and `ended` of `runs`. Epoch 0 is compilation.

        `best` is the best result so far; a `note` is shown instead of the number of runs.
        """
        is_begun = epoch and rows
        parts = [f"epoch {epoch}/{epochs}", note or f"{ended}/{count(runs, 'run')}"] if is_begun else ["compiling"]
        parts += [best] if best else []
        (rate,) = self._rates("training", rows)
        if rate:
            parts += [f"{millions(rate)} rows/s", _remaining((total - rows) / rate)]
        self._show("training", rows, total, parts)

    def tasks(self, table: Table, words: str) -> None:
        """Show a row for each task of a sweep; without a terminal, print only their progress, in `words`."""
        if not self._is_live:
            self._say_if_due(f"tasks:  {words}")
            return
        if self._table is None:
            self._table = Live(console=self.console, transient=True, auto_refresh=False)
            self._table.start()
        self._table.update(table, refresh=True)

    def timing(self) -> None:
        """Show that single updates are being timed."""
        self._show("timing", 0, None, ["one update of each kind, alone"])

    def clear(self) -> None:
        """Remove the live line and restart the clock."""
        for shown_now in filter(None, (self._bar, self._table)):
            shown_now.stop()
        self._bar = self._table = None
        self._last_line = time.monotonic()
        self._first = None

    def _show(self, what: str, done: int, total: int | None, parts: Sequence[str]) -> None:
        state = ", ".join(parts)
        if not self._is_live:
            self._say_if_due(f"{what}: {state}")
            return
        if self._bar is None:
            self._bar = Progress(
                SpinnerColumn(),  # The spinner moves even during compilation.
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[state]}"),
                console=self.console,
                transient=True,
            )
            self._bar.add_task(what, total=total, state=state)
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, description=what, total=total, completed=done, state=state)

    def _say_if_due(self, line: str) -> None:
        """Print progress if there is no terminal."""
        if self._is_due(PLAIN_SECONDS):
            self._last_line = time.monotonic()
            self.say(line)

    def _rates(self, what: str, *done: int) -> list[float]:
        """Return the rates since the first report on this work, so that compilation is excluded."""
        now = time.monotonic()
        if self._first is None or self._first[0] != what or not self._first[2][0]:
            self._first = what, now, done
        _, start, before = self._first
        return [(after - first) / max(now - start, 1e-9) for after, first in zip(done, before, strict=True)]

    def _is_due(self, first: float) -> bool:
        return time.monotonic() - self._last_line >= first


def _remaining(seconds: float) -> str:
    return f"{timedelta(seconds=round(seconds))} left"
