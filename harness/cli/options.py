"""Options, store reader and console shared by the commands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from harness.tracking.reader import RunReader

WIDTH = 120
"""Width of the text in characters when the output is not a terminal."""

uri_option = click.option("--uri", help="Tracking store. Default: MLFLOW_TRACKING_URI, or mlflow.db in this folder.")
cache_option = click.option("--cache", type=click.Path(path_type=Path), default=".harness", show_default=True)
RUN_WORDS = (
    "`last` is the newest run. `best` is the best run of the newest sweep; with several seeds, it is the first run of "
    "the setting with the best mean."
)
"""Explains how to refer to runs; the last paragraph of a command's help."""

age_option = click.option(
    "--older-than", metavar="AGE", help="Only items that have not been used for this long: 7d, 12h, 2w, ..."
)


def show_runs(uri: str | None, ids: Sequence[str], target: float | None = None) -> None:
    """Print the comparison of runs."""
    from harness.analysis.render import show

    records, found = find_runs(uri, *ids)
    show(records.load(found), new_console(), target)


def find_runs(uri: str | None, *words: str) -> tuple[RunReader, list[str]]:
    """Open the store for reading, and replace `best` with the id of the best run."""
    from harness.analysis.best_run import run_ids

    records = reader_of(uri)
    return records, run_ids(records, words)


def reader_of(uri: str | None) -> RunReader:
    """Open the store for reading."""
    from harness.tracking.reader import RunReader

    # By default, MLflow retries for minutes, but a user is waiting here.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return RunReader(tracking_uri(uri))


def new_console() -> Console:
    """Return the console; it is wide enough for tables when the output is not a terminal."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    return console


def print_wide(view: RenderableType, *, soft_wrap: bool = False) -> None:
    """Print a table or text, with full names and paths when the output is not a terminal."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 500
    console.print(view, soft_wrap=soft_wrap)
