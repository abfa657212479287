"""The commands' options and help. Heavy modules are imported when a command runs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.output import say, warn
from harness.cli.streams import finishes_without_output
from harness.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from harness.tracking.reader import RunReader

WIDTH = 100
"""Width of the text in characters when the output is not a terminal."""

uri_option = click.option("--uri", help="Tracking store. Default: MLFLOW_TRACKING_URI, or mlflow.db in this folder.")
cache_option = click.option("--cache", type=click.Path(path_type=Path), default=".harness", show_default=True)
age_option = click.option(
    "--older-than", metavar="AGE", help="Only what has not been used for this long: 7d, 12h, 2w, ..."
)
_words = click.argument("words", nargs=-1, type=click.UNPROCESSED)


# Hydra answers `harness train --help`; conf/config.yaml has the text.
@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@_words
@finishes_without_output
def train(words: tuple[str, ...]) -> int:
    """Train one configuration, or with -m a sweep."""
    from harness.cli import train

    runs = list(dict.fromkeys(train.run(words)))
    if runs:
        _show_runs(runs[0].config.tracking.uri, [run.run_id for run in runs])
    failed = [run for run in runs if run.status != "FINISHED" and not run.pruned_at]
    for run in failed:
        lines = run.reason.splitlines()
        reason = " ... ".join(line.strip() for line in lines[:1] + lines[1:][-1:])
        warn(f"failed: {run.name}: {reason}")
    return 1 if failed else 0


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: harness plan -m chunksize=full,1000,100 learning_rate=0.01,0.1 epochs=5,20",
)
@_words
def plan(words: tuple[str, ...]) -> None:
    """Show what `harness train` would do with the same arguments.

    Lists which runs are new, finished, failed, diverged, interrupted or running elsewhere, and how they share scans.
    Estimates time, memory and disk space by training on the first blocks for a few seconds. A source that has not been
    used before is parsed first.
    """
    from harness.cli import train

    train.plan(words)


@click.command()
@click.argument("ids", nargs=-1)
@uri_option
@click.option("--target", type=float, help="Show when each run reaches this loss: epochs, updates and seconds.")
@click.option("--csv", "form", flag_value="csv", help="One line per run; with --target, per chunksize and setting.")
@click.option("--json", "form", flag_value="json", help="Runs, comparisons and, with --target, when they reach it.")
@click.option("--markdown", "form", flag_value="markdown", help="The full tables.")
def compare(ids: tuple[str, ...], uri: str | None, target: float | None, form: str | None) -> None:
    """Compare runs, best first, and the full sample with batches.

    IDS are runs or sweeps; the default is the newest sweep. Full-sample and batch runs are compared after the same
    epochs, rows, updates and time.
    """
    if form is None:
        _show_runs(uri, ids, target)
        return
    from harness.analysis import render

    write = {"csv": render.as_csv, "json": render.as_json, "markdown": render.as_markdown}[form]
    click.echo(write(_reader(uri).load(ids), target).rstrip("\n"))


@click.command()
@uri_option
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many sweeps to list.")
def sweeps(uri: str | None, limit: int) -> None:
    """List sweeps, newest first, with their runs and the best of them."""
    from harness.analysis.render import show_sweeps

    console, width = _console()
    show_sweeps(_reader(uri).sweeps(limit), console, width)


@click.command()
@click.argument("sweep", required=False)
@uri_option
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Default: harness-report-SWEEP.")
@finishes_without_output
def report(sweep: str | None, uri: str | None, output: Path | None) -> None:
    """Write an HTML page with figures for SWEEP, by default the newest."""
    from harness.analysis import report

    found = _reader(uri).load([sweep] if sweep else [], with_sample=True)
    name = re.sub(r"\W", "_", (found.sweep_id or sweep or "")[:8])  # Ids of other stores may have any form.
    say(str(report.write(found, output or Path(f"harness-report-{name}"))))


@click.command()
@click.argument("run_id")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("keys", nargs=-1, metavar="[data.KEY=VALUE]...")
@uri_option
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="CSV file. Default: standard output.")
@click.option("--keep", is_flag=True, help="Keep the input's columns before the prediction.")
def predict(run_id: str, path: Path, keys: tuple[str, ...], uri: str | None, output: Path | None, keep: bool) -> None:
    """Predict the rows of the file PATH with a run's model, in constant memory.

    PATH is read as the run's data was: in any format, and written the same way unless keys such as data.delimiter=tab
    follow. If the model takes images, PATH is a
    folder of images or one image.
    """
    from harness.cli.predict import predict

    predict(_reader(uri), run_id, path, output, keep=keep, keys=keys)


@click.command()
@click.argument("run_id")
@uri_option
@click.option("--data", multiple=True, metavar="PATH", help="Where the data is now; repeat it for several files.")
@click.option("--strict", is_flag=True, help="Refuse to train if data, code or packages differ from the record.")
@click.option("--trust", is_flag=True, help="Run the model's function even if it is in another package.")
@finishes_without_output
def reproduce(run_id: str, uri: str | None, data: tuple[str, ...], strict: bool, trust: bool) -> int:
    """Train a recorded run again and compare the numbers.

    The exit code is 0 if all metrics are bit-identical, otherwise 1.
    """
    from rich.console import Console

    from harness.cli.reproduce import Request, reproduce
    from harness.sweep.display import Display

    is_equal = reproduce(_reader(uri), Request(run_id, uri, data, strict, trust), Display(Console()))
    return 0 if is_equal else 1


@click.command()
@uri_option
@click.option("--port", type=int, help="Default: 5000, or any free port if 5000 is taken.")
def ui(uri: str | None, port: int | None) -> int:
    """Serve the MLflow UI for the store, on this machine only."""
    from harness.tracking.ui import serve

    return serve(tracking_uri(uri), port, say)


@click.command()
@click.option("--checkpoints", is_flag=True, help="Checkpoints that nothing can resume from; with --force, all.")
@click.option("--tables", is_flag=True, help="Parsed tables and generated data, which are recreated when needed.")
@click.option("--artifacts", is_flag=True, help="Files of failed and deleted runs in a local store.")
@click.option("--all", "everything", is_flag=True, help="All of these; with --force, undelivered records too.")
@age_option
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--force", is_flag=True, help="Also remove what an interrupted sweep needs; it then starts over.")
@cache_option
@uri_option
@finishes_without_output
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
    """Show what the harness keeps on disk, or remove some of it.

    Keeps what a running process uses and, without --force, what an interrupted sweep needs.
    """
    from harness.cli import clean

    asked = {"checkpoints": checkpoints, "tables": tables, "records": False, "artifacts": artifacts}
    kinds = [kind for kind, is_asked in asked.items() if is_asked or everything]
    age = clean.seconds(older_than) if older_than else 0.0
    found = clean.look(cache, kinds or clean.KINDS, tracking_uri(uri), is_asked=artifacts)
    found = [item for item in found if max(time.time() - item.used, 0) >= age]
    if kinds:
        for line in clean.free(found, force=force, dry_run=dry_run):
            say(line)
    else:
        print_wide(clean.render(found))


def _show_runs(uri: str | None, ids: Sequence[str], target: float | None = None) -> None:
    from harness.analysis.render import show

    console, width = _console()
    show(_reader(uri).load(ids), console, width, target)


def _reader(uri: str | None) -> RunReader:
    from harness.tracking.reader import RunReader

    # By default MLflow retries for minutes, but here a user is waiting.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return RunReader(tracking_uri(uri))


def _console() -> tuple[Console, int]:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    return console, console.width


def print_wide(table: RenderableType) -> None:
    """Print a table, with full paths when the output is not a terminal."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 500
    console.print(table)
