"""The commands' options and help. Heavy modules are imported when a command runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import (
    RUN_WORDS,
    age_option,
    cache_option,
    full_ids,
    print_wide,
    reader_of,
    show_runs,
    uri_option,
)
from harness.cli.output import say, warn
from harness.cli.streams import finishes_without_output
from harness.errors import require
from harness.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from harness.cli.startup import Startup

_words = click.argument("words", nargs=-1, type=click.UNPROCESSED)


# Hydra handles `harness train --help`; conf/config.yaml has the text.
@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@_words
@finishes_without_output
def train(words: tuple[str, ...]) -> int:
    """Train one configuration, or with -m a sweep."""
    if {"--help", "-h"}.intersection(words):
        from harness.cli.train_help import train_help

        click.echo(train_help(min(shutil.get_terminal_size().columns, 100)))
        return 0
    startup = _startup(words)
    try:
        from harness.cli import train
        from harness.cli.next_steps import next_steps

        app = train.train(words, startup)
    finally:
        startup.end()
    runs = list(dict.fromkeys(app.runs))
    if runs:
        show_runs(runs[0].config.tracking.uri, [app.sweep_id] if app.sweep_id else [run.run_id for run in runs])
        say("")
        say(next_steps(runs, app.sweep_id, is_trusted="--trust" in words))
    failed = [run for run in runs if run.status != "FINISHED" and not run.pruned_at]
    for run in failed:
        lines = run.reason.splitlines()
        reason = " ... ".join(line.strip() for line in lines[:1] + lines[1:][-1:])
        warn(f"failed: {run.name}: {reason}")
    return 1 if failed else 0


@click.command(hidden=True)
@click.argument("task", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--trust", is_flag=True, help="Run model functions even if they are in other packages.")
def work(task: Path, trust: bool) -> None:
    """Train the runs of the task file TASK, which is written by a sweep with several workers.

    Such a sweep starts this command itself, for example with hydra/launcher=workers. The exit code is 0 if the task's
    result was written next to TASK, even if runs have failed.
    """
    from harness.cli.work import work

    work(task, trust=trust)


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: harness plan -m chunksize=full,1000,100 learning_rate=0.01,0.1 epochs=5,20",
)
@_words
def plan(words: tuple[str, ...]) -> None:
    """Show what `harness train` would do with the same arguments.

    Lists which runs are new, finished, failed, diverged, interrupted or running elsewhere, and how they share scans.
    Estimates time, memory and disk space by training on the first blocks for a few seconds. A new source is parsed
    first.
    """
    startup = _startup(words)
    try:
        from harness.cli import train

        train.plan(words, startup)
    finally:
        startup.end()


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: harness tune -m model=mlp chunksize=1000 learning_rate=0.001,0.003,0.01,0.03",
)
@_words
def tune(words: tuple[str, ...]) -> None:
    """Measure how many runs to update in one call.

    Takes the arguments of `harness train`, and trains with different numbers of lanes per call. For each model and
    chunk size, it stops trying others after 20 seconds. Where another number is faster than the default by at least
    10%, `harness plan` and `harness train` use it from then on, for sweeps with the same models, optimizers, losses,
    chunk sizes and numbers of lanes on the same device. This changes the last bits of results; the tag `tile` records
    the number.
    """
    startup = _startup(words)
    try:
        from harness.cli import train

        train.tune(words, startup)
    finally:
        startup.end()


@click.command(epilog=RUN_WORDS)
@click.argument("run_id", metavar="RUN")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("keys", nargs=-1, metavar="[data.KEY=VALUE]...")
@uri_option
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="CSV file. Default: standard output.")
@click.option("--keep", is_flag=True, help="Keep the input's columns, in front of the prediction.")
@click.option("--trust", is_flag=True, help="Run the code of layers from outside Keras.")
def predict(
    run_id: str, path: Path, keys: tuple[str, ...], uri: str | None, output: Path | None, keep: bool, trust: bool
) -> None:
    """Predict the target for each row of the file PATH with a run's model, in constant memory.

    PATH may be in any supported format. It is read with the run's settings; keys such as data.delimiter=tab override
    them. If the model takes images, PATH is a folder of images or one image.

    RUN is a prefix of an id, `last` or `best`.
    """
    # Checked before TensorFlow and the model are loaded, which takes seconds.
    require(path.exists(), f"PATH: no such file or folder: {path}.")
    from rich.console import Console

    from harness.cli.predict import predict
    from harness.sweep.display import Display

    display = Display(Console(stderr=True))
    records = reader_of(uri)
    try:
        full_id = full_ids(records, run_id)[0]
        predict(records, full_id, path, output, keep=keep, keys=keys, display=display, is_trusted=trust)
    finally:
        display.clear()


@click.command(epilog=RUN_WORDS)
@click.argument("run_id", metavar="RUN")
@uri_option
@click.option("--data", multiple=True, metavar="PATH", help="New location of the data; repeat for several files.")
@click.option("--strict", is_flag=True, help="Refuse to train if data, code or packages differ from the record.")
@click.option(
    "--trust", is_flag=True, help="Run the model's function even if it is outside harness, keras and experiments."
)
@finishes_without_output
def reproduce(run_id: str, uri: str | None, data: tuple[str, ...], strict: bool, trust: bool) -> int:
    """Retrain a recorded run and compare the numbers.

    RUN is a prefix of an id, `last` or `best`. The exit code is 0 if all metrics are bit-identical, otherwise 1.
    """
    from harness.cli.reproduce import Request, reproduce
    from harness.sweep.display import Display

    records = reader_of(uri)
    full_id = records.run(full_ids(records, run_id)[0]).info.run_id
    is_equal = reproduce(records, Request(full_id, uri, data, strict, trust), Display())
    return 0 if is_equal else 1


@click.command()
@uri_option
@click.option("--port", type=int, help="Default: 5000, or any free port if 5000 is taken.")
def ui(uri: str | None, port: int | None) -> int:
    """Serve the MLflow UI for the store, on this machine only."""
    from harness.tracking.ui import serve

    return serve(tracking_uri(uri), port, say)


@click.command()
@click.option("--checkpoints", is_flag=True, help="Checkpoints that no sweep can resume from; with --force, all.")
@click.option("--tables", is_flag=True, help="Parsed tables and generated data, which are recreated when needed.")
@click.option("--tiles", is_flag=True, help="What `harness tune` has measured; `harness train` then uses the defaults.")
@click.option("--artifacts", is_flag=True, help="Files of failed and deleted runs in a local store.")
@click.option("--all", "everything", is_flag=True, help="All of the above; with --force, also undelivered records.")
@age_option
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--force", is_flag=True, help="Also remove what an interrupted sweep needs; it then starts over.")
@cache_option
@uri_option
@finishes_without_output
def clean(
    checkpoints: bool,
    tables: bool,
    tiles: bool,
    artifacts: bool,
    everything: bool,
    older_than: str | None,
    dry_run: bool,
    force: bool,
    cache: Path,
    uri: str | None,
) -> None:
    """Show what the harness keeps on disk, or remove some of it.

    Anything that a running process uses is kept and, without --force, so is anything that an interrupted sweep needs.
    """
    from harness.cli import clean

    asked = {"checkpoints": checkpoints, "tables": tables, "tiles": tiles, "records": False, "artifacts": artifacts}
    kinds = [kind for kind, is_asked in asked.items() if is_asked or everything]
    age = clean.seconds(older_than) if older_than else 0.0
    found = clean.look(cache, kinds or clean.KINDS, tracking_uri(uri), is_asked=artifacts)
    found = [item for item in found if max(time.time() - item.used, 0) >= age]
    if kinds:
        for line in clean.free(found, force=force, dry_run=dry_run):
            say(line)
    else:
        print_wide(clean.render(found))


def _startup(words: Sequence[str]) -> Startup:
    """Show immediately that the command has started, unless it only prints something."""
    from harness.cli.startup import PRINTS, Startup

    startup = Startup(silent=bool(PRINTS.intersection(words)))
    startup.phase("reading the configuration")
    return startup
