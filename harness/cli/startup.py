"""Shows progress before training, so that no command is silent: a live line on a terminal, else plain lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.status import Status


PRINTS = frozenset(("--cfg", "-c", "--info", "-i", "--help", "-h"))
"""Options with which `harness train` prints something instead of training."""


class Startup:
    """The phases of starting a command; `end` must be called before anything else is shown."""

    def __init__(self, *, silent: bool = False) -> None:
        self._is_silent = silent
        self._is_live = sys.stdout.isatty()
        self._status: Status | None = None

    def phase(self, what: str) -> None:
        """Show the current phase."""
        if self._is_silent:
            return
        if not self._is_live:
            click.echo(f"start:  {what}")
            return
        if self._status is None:
            click.echo(f"start:  {what} ...\r", nl=False)  # Importing rich also takes a moment.
            from rich.console import Console
            from rich.status import Status

            self._status = Status("", console=Console())
            self._status.start()
        self._status.update(f"{what} ...")

    def end(self) -> None:
        """Remove the live line; plain lines are not printed again, as the batches of a search all start alike."""
        self._is_silent |= not self._is_live
        if self._status is not None:
            self._status.stop()
            self._status = None
