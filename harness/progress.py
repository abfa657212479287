"""What a person sees while a sweep runs: a live line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0
"""Seconds between lines where the output is no terminal."""


def millions(value: float) -> str:
    """Write a count in at most six characters or so: 950, 21.6k, 3.2M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:  # From here on three digits round to the unit.
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


class Display:
    """Shows lines, and the state of the work under way."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._said = time.monotonic()
        self._first: tuple[str, float, int] | None = None  # What was first reported of the work under way: when, rows.

    def say(self, *lines: str) -> None:
        """Show lines that stay."""
        for line in lines:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def reading(self, what: str, rows: int) -> None:
        """Show that a source is read or generated, from its first row on."""
        if self._bar is None and not self._is_due(first=1.0):
            return
        self._show(f"{what} data", rows, None, f"{millions(rows)} rows")

    def training(self, epoch: int, epochs: int, rows: int, total: int, ended: int, runs: int) -> None:
        """Show how far a scan is: `rows` of `total` over all epochs, `ended` of `runs`; it compiles in epoch 0."""
        self._show("training", rows, total, f"epoch {epoch}/{epochs}, {ended}/{runs} runs" if epoch else "compiling")

    def clear(self) -> None:
        """Take the live line away; the next work starts its own clock."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._said = time.monotonic()
        self._first = None

    def _show(self, what: str, rows: int, total: int | None, state: str) -> None:
        rate = self._rate(what, rows)
        if not self.console.is_terminal:
            if self._is_due(PLAIN_SECONDS):
                self._said = time.monotonic()
                left = f", {(total - rows) / rate:.0f} s left" if total and rate else ""
                self.say(f"{what}: {state}, {millions(rate)} rows/s{left}")
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                TextColumn("{task.fields[state]}"),
                TextColumn("{task.fields[rate]} rows/s"),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=True,
            )
            self._bar.add_task(what, total=total, state=state, rate=millions(rate))
            self._bar.start()
        self._bar.update(
            self._bar.task_ids[0], description=what, total=total, completed=rows, state=state, rate=millions(rate)
        )

    def _rate(self, what: str, rows: int) -> float:
        """Return the rows a second since the first rows of this work were reported: what came before is compilation."""
        now = time.monotonic()
        if self._first is None or self._first[0] != what or not self._first[2]:
            self._first = what, now, rows
        return (rows - self._first[2]) / max(now - self._first[1], 1e-9)

    def _is_due(self, first: float) -> bool:
        return time.monotonic() - self._said >= first
