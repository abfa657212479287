"""The console command `harness`: words in, the library's answers out.

Exit codes: 0 all is well; 1 a run failed; 2 refused, and nothing done; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

import atexit
import gc
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from harness.cli.data import clean, data, uri_option
from harness.errors import ConfigError
from harness.runtime.memory import GC_THRESHOLDS
from harness.tracking.outbox import StoreUnreachable
from harness.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from rich.console import Console

    from harness.tracking.reader import RunReader

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
    harness train --trust model=custom model._target_=package.module.function
    harness train --help       all keys and groups
    """
    from harness.cli import train

    runs = list(dict.fromkeys(train.run(words)))
    if runs:
        _show_runs(runs[0].config.tracking.uri, [run.run_id for run in runs])
    failed = [run for run in runs if run.status != "FINISHED"]
    for run in failed:
        lines = run.reason.splitlines()
        reason = " ... ".join(line.strip() for line in lines[:1] + lines[1:][-1:])
        click.echo(f"failed: {run.name}: {reason}", err=True)
    return 1 if failed else 0


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def plan(words: tuple[str, ...]) -> None:
    r"""Say what `harness train` with the same words would do, without doing it.

    \b
    harness plan -m chunksize=full,1000,100 learning_rate=0.01,0.1 epochs=5,20

    Which runs are new, finished, failed, diverged, interrupted or running elsewhere; how they form scans and cohorts;
    and what they would take in time, memory and disk, estimated by training on the first blocks for some seconds. A
    source that was never used is parsed into its table, since all else follows from it.
    """
    from harness.cli import train

    train.plan(words)


@cli.command()
@click.argument("ids", nargs=-1)
@uri_option
@click.option("--target", type=float, help="Say when the runs come to this loss: epochs, updates, seconds.")
@click.option("--csv", "form", flag_value="csv", help="A line a run; with --target, a line a chunksize and setting.")
@click.option("--json", "form", flag_value="json", help="Runs, comparisons, and the way to the target.")
@click.option("--markdown", "form", flag_value="markdown", help="The tables, whole.")
def compare(ids: tuple[str, ...], uri: str | None, target: float | None, form: str | None) -> None:
    """Show runs side by side, best first, and the full sample against batches.

    IDS are a sweep's or runs'; none means the newest sweep. Full sample and batch are compared at the same epochs,
    rows, updates and time.
    """
    if form is None:
        _show_runs(uri, ids, target)
        return
    from harness.analysis import render

    write = {"csv": render.as_csv, "json": render.as_json, "markdown": render.as_markdown}[form]
    click.echo(write(_records(uri).load(ids), target).rstrip("\n"))


@cli.command()
@uri_option
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The newest ones.")
def sweeps(uri: str | None, limit: int) -> None:
    """List sweeps, newest first: their runs, how they ended, the best of them."""
    from harness.analysis.render import show_sweeps

    console, width = _console()
    show_sweeps(_records(uri).sweeps(limit), console, width)


@cli.command()
@click.argument("sweep", required=False)
@uri_option
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder; else harness-report-SWEEP.")
def report(sweep: str | None, uri: str | None, output: Path | None) -> None:
    """Write the report of SWEEP, by default the newest: a page and its figures."""
    from harness.analysis import report

    found = _records(uri).load([sweep] if sweep else [], with_sample=True)
    name = re.sub(r"\W", "_", (found.sweep_id or sweep or "")[:8])  # An id is the store's word.
    folder = output or Path(f"harness-report-{name}")
    click.echo(str(report.write(found, folder)))


@cli.command()
@click.argument("run_id")
@click.argument("path", type=click.Path(path_type=Path))
@uri_option
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A CSV; else standard output.")
@click.option("--keep", is_flag=True, help="Repeat the columns of the input before the prediction.")
def predict(run_id: str, path: Path, uri: str | None, output: Path | None, keep: bool) -> None:
    """Predict the rows of the CSV PATH with a run's logged model, in constant memory."""
    from harness.cli.predict import predict as run

    run(_records(uri), run_id, path, output, keep=keep)


@cli.command()
@click.argument("run_id")
@uri_option
@click.option("--data", multiple=True, metavar="PATH", help="Where the data lies now; again for more files.")
@click.option("--strict", is_flag=True, help="Refuse if data, code or packages are not those of the record.")
@click.option("--trust", is_flag=True, help="Run the model's function wherever it comes from.")
def reproduce(run_id: str, uri: str | None, data: tuple[str, ...], strict: bool, trust: bool) -> int:
    """Train a recorded run again, alone, and say metric by metric whether the numbers are the same.

    The exit code is 0 where they are, to the bit, and 1 where they are not.
    """
    from rich.console import Console

    from harness.cli.reproduce import Request
    from harness.cli.reproduce import reproduce as again
    from harness.sweep.display import Display

    is_equal = again(_records(uri), Request(run_id, uri, data, strict, trust), Display(Console()))
    return 0 if is_equal else 1


@cli.command()
@uri_option
@click.option("--port", type=int, help="Else 5000, or a free one if that is taken.")
def ui(uri: str | None, port: int | None) -> int:
    """Open the MLflow UI on the right store, for this machine only."""
    from harness.tracking.ui import serve

    return serve(tracking_uri(uri), port, click.echo)


cli.add_command(data)
cli.add_command(clean)


def main() -> None:
    """Run the command and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    atexit.register(_end_soon)
    gc.set_threshold(*GC_THRESHOLDS)  # A quarter of an import of MLflow is the collector going through it.
    try:
        code = cli.main(standalone_mode=False)
    except ConfigError as error:
        code = _say(str(error), 2)
    except StoreUnreachable as error:
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


def _show_runs(uri: str | None, ids: Sequence[str], target: float | None = None) -> None:
    from harness.analysis.render import show

    console, width = _console()
    show(_records(uri).load(ids), console, width, target)


def _records(uri: str | None) -> RunReader:
    from harness.tracking.reader import RunReader

    # Here a person waits; MLflow's own patience with a server is of minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return RunReader(tracking_uri(uri))


def _console() -> tuple[Console, int]:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    return console, console.width


def _terminate(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _end_soon() -> None:
    """Spare the interpreter, as it ends, the two seconds of going through all that was imported once more.

    What only a cycle of references holds is not finalized then. A connection to a store is such a thing, and an SQLite
    file whose connection is not closed has a `-wal` and a `-shm` left beside it.
    """
    gc.freeze()
    if "harness.tracking.connections" in sys.modules:
        from harness.tracking.connections import close_connections

        close_connections()


def _say(sentence: str, code: int) -> int:
    click.echo(f"harness: {sentence}", err=True)
    return code
