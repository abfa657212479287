"""The console command `harness`: words in, the library's answers out.

Exit codes: 0 all is well; 1 a run failed; 2 refused, and nothing done; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from harness.config import ConfigError, require, tracking_uri
from harness.outbox import Undelivered

WIDTH = 100
"""Columns of text where the output is no terminal."""

_ANY = {"ignore_unknown_options": True, "allow_extra_args": True}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="harness")
def cli() -> None:
    """Compare training on chunks with training on the full sample.

    Start with `harness train`, look with `harness compare` and `harness ui`.
    """


@cli.command(context_settings=_ANY | {"help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def train(words: tuple[str, ...]) -> int:
    r"""Train one configuration, or with -m a sweep of them.

    \b
    harness train chunksize=100 epochs=5
    harness train -m chunksize=full,1000,100 learning_rate=0.01,0.1 epochs=5,20
    harness train experiment=house_prices sweep=full_vs_batch
    harness train --help       all keys and groups
    """
    from harness import app

    runs = list(dict.fromkeys(app.run(words)))
    if runs:
        _show_runs(runs[0].config.tracking.uri, [run.run_id for run in runs])
    failed = [run for run in runs if run.status != "FINISHED"]
    for run in failed:
        lines = run.reason.splitlines()
        reason = " ... ".join(line.strip() for line in lines[:1] + lines[1:][-1:])
        click.echo(f"failed: {run.name}: {reason}", err=True)
    return 1 if failed else 0


@cli.command()
@click.argument("ids", nargs=-1)
@click.option("--uri", help="Tracking store; else MLFLOW_TRACKING_URI, else mlflow.db here.")
def compare(ids: tuple[str, ...], uri: str | None) -> None:
    """Show the runs of a sweep side by side, best first.

    IDS are a sweep's or runs'; none means the newest sweep.
    """
    _show_runs(uri, ids)


@cli.command()
@click.option("--uri", help="Tracking store; else MLFLOW_TRACKING_URI, else mlflow.db here.")
@click.option("--port", type=int, help="Else 5000, or a free one if that is taken.")
def ui(uri: str | None, port: int | None) -> int:
    """Open the MLflow UI on the right store, for this machine only."""
    from harness.ui import serve

    return serve(tracking_uri(uri), port, click.echo)


@cli.group()
def data() -> None:
    """Look at data, and generate some."""


@data.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--rows", type=float, default=21613, show_default=True, help="1e8 is a way to say it.")
@click.option("--seed", type=int, default=0, show_default=True)
def generate(path: Path, rows: float, seed: int) -> None:
    """Write synthetic houses of King County's kind to the CSV PATH, in constant memory."""
    from rich.console import Console

    from harness import houses
    from harness.ingest import State
    from harness.progress import Display

    require(rows >= 1 and rows == rows // 1, "--rows expected a whole, positive number", f"{rows:g}")
    require(seed >= 0, "--seed expected a number that is not negative", seed)
    require(path.parent.is_dir(), "PATH expected a file in a folder that is there", path)
    display = Display(Console())
    houses.generate(path, int(rows), seed=seed, progress=lambda rows: display.reading(State("generating", rows)))
    display.clear()
    click.echo(f"{path}: {int(rows):,} rows, {path.stat().st_size:,} bytes")


@data.command()
@click.argument("path", type=click.Path(path_type=Path))
def describe(path: Path) -> None:
    """Say what is in a CSV, what could go wrong, and how to train on it."""
    from rich.console import Console

    from harness.describe import describe as look
    from harness.describe import render

    Console().print(render(look(path)), soft_wrap=True)


_CACHE = click.option("--cache", type=click.Path(path_type=Path), default=".harness", help="Else .harness here.")


@data.command("list")
@_CACHE
def list_tables(cache: Path) -> None:
    """Show the tables that sources were parsed into, and the space they take."""
    from rich.console import Console

    from harness.shelf import list_tables, render

    console = Console()
    if not console.is_terminal:
        console.width = 500  # Whoever reads it wants paths whole.
    console.print(render(list_tables(cache)))


@data.command()
@click.argument("tables", nargs=-1)
@_CACHE
def verify(tables: tuple[str, ...], cache: Path) -> int:
    """Read tables and their sources from end to end, and say whether they still agree.

    TABLES are names that `harness data list` shows, or sources; none means all.
    """
    from rich.console import Console

    from harness.progress import Display
    from harness.shelf import select_tables, verify_table

    display, faults = Display(Console()), 0
    for shelved in select_tables(cache, tables):
        fault = verify_table(shelved, display.reading)
        display.clear()
        display.say(f"{shelved.name}: {fault or 'as it was'}")
        faults += bool(fault)
    return 1 if faults else 0


@data.command()
@click.argument("tables", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also tables whose source is as it was, and generated data.")
@click.option("--older-than", type=click.IntRange(0), metavar="DAYS", help="Only what was not used for so many days.")
@_CACHE
def clean(tables: tuple[str, ...], everything: bool, older_than: int | None, cache: Path) -> None:
    """Free the space of tables: those named, else those whose source is gone or has changed.

    What a running process uses stays. A table that is needed again is made again.
    """
    from harness.shelf import free

    for line in free(cache, tables, everything=everything, days=older_than):
        click.echo(line)


def main() -> None:
    """Run the command and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = cli.main(standalone_mode=False)
    except ConfigError as error:
        code = _say(str(error), 2)
    except Undelivered as error:
        code = _say(str(error), 1)
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.Abort):
        code = _say("interrupted", 130)
    except BrokenPipeError:
        # Who reads our output has seen enough; the interpreter would complain once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except SystemExit as end:
        # Raised anew below: its frames would hold TensorFlow's objects while the interpreter takes TensorFlow down.
        code = end.code
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        code = _say(f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows where)", 1)
    sys.exit(code)


def _show_runs(uri: str | None, ids: Sequence[str]) -> None:
    from rich.console import Console

    from harness.compare import render
    from harness.records import Records

    # Here a person waits; MLflow's own patience with a server is of minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    console.print(render(Records(tracking_uri(uri)).runs(ids), console.width))


def _terminate(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _say(sentence: str, code: int) -> int:
    click.echo(f"harness: {sentence}", err=True)
    return code
