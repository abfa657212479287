"""Shows progress before training: a live line on a terminal, otherwise plain lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.status import Status


PRINTS = frozenset(("--cfg", "-c", "--info", "-i", "--help", "-h"))
"""Options that make `harness train` print something instead of training."""


class Startup:
    """The start-up phases of a command; call `end` before showing anything else."""

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
            click.echo(f"start:  {what} ...\r", nl=False)  # Importing rich takes a moment too.
            from rich.console import Console
            from rich.status import Status

            self._status = Status("", console=Console())
            self._status.start()
        self._status.update(f"{what} ...")

    def end(self) -> None:
        """Remove the live line; plain lines are not repeated, since all batches of a search start in the same way."""
        self._is_silent |= not self._is_live
        if self._status is not None:
            self._status.stop()
            self._status = None
