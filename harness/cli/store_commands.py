"""The commands that read the store."""

from __future__ import annotations

import re
from pathlib import Path

import click

from harness.cli.options import RUN_WORDS, full_ids, new_console, reader_of, show_runs, uri_option
from harness.cli.output import say
from harness.cli.streams import finishes_without_output


@click.command(epilog=RUN_WORDS)
@click.argument("ids", nargs=-1)
@uri_option
@click.option("--target", type=float, help="Show when runs reach this value of the deciding metric.")
@click.option("--csv", "form", flag_value="csv", help="One line per run; with --target, per chunksize and setting.")
@click.option(
    "--comparison",
    "form",
    flag_value="comparison",
    help="The comparisons of the full sample with chunks as CSV, one per line.",
)
@click.option("--json", "form", flag_value="json", help="Runs, comparisons and, with --target, when runs reach it.")
@click.option("--markdown", "form", flag_value="markdown", help="The full tables.")
def compare(ids: tuple[str, ...], uri: str | None, target: float | None, form: str | None) -> None:
    """Compare runs, best first, and the full sample with chunks.

    IDS are runs or sweeps: a prefix of an id, `last` or `best`; the default is the newest sweep. Full-sample and batch
    runs are compared after equal numbers of epochs, rows and updates, and after equal time.
    """
    if form is None:
        show_runs(uri, ids, target)
        return
    from harness.analysis import render

    forms = {"csv": render.as_csv, "comparison": render.comparisons_as_csv}
    write = (forms | {"json": render.as_json, "markdown": render.as_markdown})[form]
    records = reader_of(uri)
    click.echo(write(records.load(full_ids(records, *ids)), target).rstrip("\n"))


@click.command()
@uri_option
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many sweeps to list.")
@click.option("--csv", "as_csv", is_flag=True, help="All values, with full ids.")
def sweeps(uri: str | None, limit: int, as_csv: bool) -> None:
    """List sweeps, newest first, with their runs and the best of them."""
    from harness.analysis.sweep_list import show_sweeps, sweeps_as_csv

    found = reader_of(uri).sweeps(limit)
    if as_csv:
        click.echo(sweeps_as_csv(found).rstrip("\n"))
    else:
        show_sweeps(found, new_console())


@click.command()
@uri_option
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs to list.")
@click.option("--csv", "as_csv", is_flag=True, help="All recorded values, with full ids.")
def runs(uri: str | None, limit: int, as_csv: bool) -> None:
    """List runs, newest first: how each ended, its result, and whether its model is logged."""
    from harness.analysis import render, run_list
    from harness.sweep.claims import abandoned_runs

    records = reader_of(uri)
    found = records.newest_runs(limit)
    abandoned = abandoned_runs(records, found)
    if as_csv:
        click.echo(render.to_csv(run_list.as_frame(found, abandoned)).rstrip("\n"))
        return
    empty = "No runs yet. Run `harness train` first."
    render.show_list(run_list.run_list(found, abandoned), new_console(), empty)
    for sentence in run_list.resumable(found, abandoned):
        say(sentence)


@click.command(epilog=RUN_WORDS)
@click.argument("first")
@click.argument("second")
@uri_option
def diff(first: str, second: str, uri: str | None) -> None:
    """Show how two runs differ: configuration, data, code, packages and results.

    FIRST and SECOND are runs: a prefix of an id, `last` or `best`.
    """
    from harness.cli.diff import diff

    records = reader_of(uri)
    diff(records, full_ids(records, first, second), new_console())


@click.command(epilog=RUN_WORDS)
@click.argument("run_id", metavar="RUN")
@click.argument("name", required=False)
@uri_option
def register(run_id: str, name: str | None, uri: str | None) -> None:
    """Register the model of RUN as NAME, by default the name of its experiment.

    RUN is a prefix of an id, `last` or `best`. The best run of a sweep gets the alias `champion`. `mlflow models serve`
    can then serve the model without the harness.
    """
    from harness.cli.register import register

    records = reader_of(uri)
    for line in register(records, full_ids(records, run_id)[0], name):
        say(line)


@click.command()
@click.argument("sweep", required=False)
@uri_option
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Default: harness-report-SWEEP.")
@finishes_without_output
def report(sweep: str | None, uri: str | None, output: Path | None) -> None:
    """Write an HTML page with figures for SWEEP, by default the newest."""
    from harness.analysis import report

    records = reader_of(uri)
    found = records.load(full_ids(records, *([sweep] if sweep else [])), with_sample=True)
    name = re.sub(r"\W", "_", (found.sweep_id or sweep or "")[:8])  # Ids may have any form in other stores.
    say(str(report.write(found, output or Path(f"harness-report-{name}"))))
