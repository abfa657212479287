"""`harness data`: generate and describe sources, and manage the tables parsed from them."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import age_option, cache_option, print_wide
from harness.cli.output import say
from harness.cli.streams import finishes_without_output
from harness.errors import require


@click.group()
def data() -> None:
    """Generate, describe and check data."""


@data.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--rows", type=float, default=21613, show_default=True, help="For example 1e8.")
@click.option("--seed", type=int, default=0, show_default=True)
@finishes_without_output
def generate(path: Path, rows: float, seed: int) -> None:
    """Write synthetic house sales, modeled on King County, to the CSV file PATH, in constant memory."""
    from harness.data import synthetic_houses
    from harness.data.ingest import IngestProgress
    from harness.sweep.display import Display

    require(rows >= 1 and rows == rows // 1, f"--rows must be a positive whole number, not {rows:g}.")
    require(seed >= 0, f"--seed must be at least 0, not {seed}.")
    require(path.parent.is_dir(), f"PATH: no such folder: {path.parent}")
    display = Display()
    synthetic_houses.generate(
        path, int(rows), seed=seed, progress=lambda rows: display.reading(IngestProgress("generating", rows))
    )
    display.clear()
    say(f"{path}: {int(rows):,} rows, {path.stat().st_size:,} bytes")


@data.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--target", help="The column to predict; guessed by default.")
@click.option("--all", "everything", is_flag=True, help="Read large files to the end.")
def describe(paths: tuple[str, ...], target: str | None, everything: bool) -> None:
    """Show the format of files, their columns or images, likely problems, and how to train on them.

    PATH is a local or remote file, a folder with one subfolder of images per class, or a Parquet file of images.
    Several files are read as one table. Only the first rows of large files are read.
    """
    from harness.data.profiling import describe, describe_images

    path = paths[0] if len(paths) == 1 else list(paths)
    if isinstance(path, str) and describe_images.has_images(path):
        view = describe_images.render(describe_images.describe_images(path))
    else:
        view = describe.render(describe.describe(path, target=target, everything=everything))
    print_wide(view, soft_wrap=True)


@data.command("list")
@cache_option
def list_tables(cache: Path) -> None:
    """List the tables parsed from sources, and their sizes."""
    from harness.data.tables.cache import list_tables, render

    print_wide(render(list_tables(cache)))


@data.command()
@click.argument("tables", nargs=-1)
@cache_option
@finishes_without_output
def verify(tables: tuple[str, ...], cache: Path) -> int:
    """Read tables and their sources completely, and check that they agree.

    TABLES are names from `harness data list`, or sources; all by default.
    """
    from harness.data.tables.cache import select_tables, verify_table
    from harness.sweep.display import Display

    display, faults = Display(), 0
    for shelved in select_tables(cache, tables):
        fault = verify_table(shelved, display.reading)
        display.clear()
        display.say(f"{shelved.name}: {fault or 'unchanged'}")
        faults += bool(fault)
    return 1 if faults else 0


@data.command("clean")
@click.argument("tables", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also remove tables of unchanged sources, and generated data.")
@age_option
@cache_option
@finishes_without_output
def clean_tables(tables: tuple[str, ...], everything: bool, older_than: str | None, cache: Path) -> None:
    """Remove TABLES, by default those whose source is gone or has changed.

    Tables that a running process uses or an interrupted sweep needs are kept. A removed table is recreated when needed.
    """
    from harness.cli.clean import seconds
    from harness.data.tables.cache import free
    from harness.sweep.checkpoint import needed_tables

    age = seconds(older_than) if older_than else None
    for line in free(cache, tables, everything=everything, age=age, needed=needed_tables(cache)):
        say(line)
