"""The commands for what lies on disk: `harness data` and `harness clean`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import require
from harness.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from rich.console import RenderableType

uri_option = click.option("--uri", help="Tracking store; else MLFLOW_TRACKING_URI, else mlflow.db here.")
_CACHE = click.option("--cache", type=click.Path(path_type=Path), default=".harness", help="Else .harness here.")
_OLDER = click.option("--older-than", metavar="AGE", help="Only what was not used for so long: 7d, 12h, 2w.")


@click.group()
def data() -> None:
    """Look at data, and generate some."""


@data.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--rows", type=float, default=21613, show_default=True, help="1e8 is a way to say it.")
@click.option("--seed", type=int, default=0, show_default=True)
def generate(path: Path, rows: float, seed: int) -> None:
    """Write synthetic houses of King County's kind to the CSV PATH, in constant memory."""
    from rich.console import Console

    from harness.data import synthetic_houses
    from harness.data.ingest import IngestProgress
    from harness.sweep.display import Display

    require(rows >= 1 and rows == rows // 1, "--rows expected a whole, positive number", f"{rows:g}")
    require(seed >= 0, "--seed expected a number that is not negative", seed)
    require(path.parent.is_dir(), "PATH expected a file in a folder that is there", path)
    display = Display(Console())
    synthetic_houses.generate(
        path, int(rows), seed=seed, progress=lambda rows: display.reading(IngestProgress("generating", rows))
    )
    display.clear()
    click.echo(f"{path}: {int(rows):,} rows, {path.stat().st_size:,} bytes")


@data.command()
@click.argument("path")
def describe(path: str) -> None:
    """Show what is in a file, local or remote, what could go wrong, and how to train on it."""
    from rich.console import Console

    from harness.data.describe import describe as look
    from harness.data.describe import render

    Console().print(render(look(path)), soft_wrap=True)


@data.command("list")
@_CACHE
def list_tables(cache: Path) -> None:
    """Show the tables that sources were parsed into, and the space they take."""
    from harness.data.table_cache import list_tables, render

    _print_wide(render(list_tables(cache)))


@data.command()
@click.argument("tables", nargs=-1)
@_CACHE
def verify(tables: tuple[str, ...], cache: Path) -> int:
    """Read tables and their sources from end to end, and say whether they still agree.

    TABLES are names that `harness data list` shows, or sources; none means all.
    """
    from rich.console import Console

    from harness.data.table_cache import select_tables, verify_table
    from harness.sweep.display import Display

    display, faults = Display(Console()), 0
    for shelved in select_tables(cache, tables):
        fault = verify_table(shelved, display.reading)
        display.clear()
        display.say(f"{shelved.name}: {fault or 'as it was'}")
        faults += bool(fault)
    return 1 if faults else 0


@data.command("clean")
@click.argument("tables", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also tables whose source is as it was, and generated data.")
@_OLDER
@_CACHE
def clean_tables(tables: tuple[str, ...], everything: bool, older_than: str | None, cache: Path) -> None:
    """Free the space of tables: those named, else those whose source is gone or has changed.

    What a running process uses stays, and what a sweep needs that can go on. A table is made again when it is needed.
    """
    from harness.cli.clean import seconds
    from harness.data.table_cache import free
    from harness.sweep.checkpoint import needed_tables

    age = seconds(older_than) if older_than else None
    for line in free(cache, tables, everything=everything, age=age, needed=needed_tables(cache)):
        click.echo(line)


@click.command()
@click.option("--checkpoints", is_flag=True, help="Those that nothing can go on from; with --force all.")
@click.option("--tables", is_flag=True, help="Parsed tables and generated data; they are made again when needed.")
@click.option("--artifacts", is_flag=True, help="Files of runs that failed or were deleted, in a store in a file here.")
@click.option("--all", "everything", is_flag=True, help="All of these; with --force also records not yet delivered.")
@_OLDER
@click.option("--dry-run", is_flag=True, help="Say what would be freed.")
@click.option("--force", is_flag=True, help="Also what a sweep needs that can go on, which then begins anew.")
@_CACHE
@uri_option
def clean(
    checkpoints: bool,
    tables: bool,
    artifacts: bool,
    everything: bool,
    older_than: str | None,
    dry_run: bool,
    force: bool,
    cache: Path,
    uri: str | None,
) -> None:
    """Show what is kept on disk and what it takes, or free what is asked.

    What a running process uses stays; so does what a sweep needs that can go on, unless it is forced.
    """
    from harness.cli import clean

    asked = {"checkpoints": checkpoints, "tables": tables, "records": False, "artifacts": artifacts}
    kinds = [kind for kind, is_asked in asked.items() if is_asked or everything]
    age = clean.seconds(older_than) if older_than else 0.0
    found = clean.look(cache, kinds or clean.KINDS, tracking_uri(uri), is_asked=artifacts)
    found = [item for item in found if time.time() - item.used >= age]
    if kinds:
        for line in clean.free(found, force=force, dry_run=dry_run):
            click.echo(line)
    else:
        _print_wide(clean.render(found))


def _print_wide(table: RenderableType) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 500  # Whoever reads it wants paths whole.
    console.print(table)
