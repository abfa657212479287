"""Terminal layout shared by the descriptions of files and of images."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.escaping import visible


def notes_under(title: str, notes: Sequence[str]) -> list[RenderableType]:
    """Lay out `notes` as a list under a title; nothing if there are none."""
    if not notes:
        return []
    grid = Table.grid(padding=(0, 1, 0, 0))
    for note in notes:
        grid.add_row("-", Text(visible(note), overflow="fold"))
    return [Text(f"\n{title}", style="bold"), grid]


def command_to_start(command: str) -> list[RenderableType]:
    """Lay out a command with one argument per line; nothing if it is empty."""
    if not command:
        return []
    program, verb, *arguments = map(visible, map(shlex.quote, shlex.split(command)))
    lines = " \\\n    ".join([f"{program} {verb}", *arguments])
    return [
        Text("\nTo start", style="bold"),
        Text(lines, no_wrap=True, overflow="ignore"),
        Text("\nAdd -m chunksize=full,100 to compare the full sample with chunks of 100 rows."),
    ]
