"""What a sweep would do, without doing it: runs by state, scans and cohorts, and what they would take."""

from __future__ import annotations

import contextlib
import itertools
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.config import DEFAULT_EXPERIMENT, Config
from harness.errors import ConfigError
from harness.formatting import millions
from harness.runtime.device import choose_device
from harness.runtime.secrets import masked
from harness.sweep.batch import checkpoint_folder
from harness.sweep.display import Display
from harness.sweep.plan import Group, Run, arrange, prepare
from harness.sweep.run_locks import RunLocks
from harness.sweep.run_state import Known, sort_out
from harness.tracking.reader import RunReader
from harness.tracking.uri import tracking_uri
from harness.training.events import Progress

LOOK_SECONDS = 2.0
"""Training time that an estimate rests on, for each scan."""

POINT_BYTES = 330
"""That a point of a curve takes in SQLite, indexes included: measured."""

EPOCH_POINTS = 8


@dataclass(frozen=True)
class Estimate:
    """What scans would take: seconds, and bytes on disk by what takes them."""

    compile: float
    train: float
    checkpoint: int
    records: int


def preview(configs: Sequence[Config], display: Display, console: Console) -> None:
    """Print what training `configs` would be; a table that is not there is made, since all else follows from it.

    Raises:
        ConfigError: One of them cannot be trained, as in training.
    """
    device, description = choose_device(configs[0].runtime)
    runs = list(dict.fromkeys(prepare(configs, display.reading)))
    groups = arrange(runs, device)
    display.clear()
    uri = tracking_uri(configs[0].tracking.uri)
    known, resumes = _look_up(runs, uri, device)
    display.say(f"device: {description}", f"store:  {masked(uri)}, experiment {configs[0].tracking.experiment}")
    counts = Counter(each.state for each in known.values())
    display.say(f"{len(runs)} runs: {', '.join(f'{count} {state}' for state, count in counts.items())}", "")
    console.print(_runs_table(known))
    todo = [run for run, each in known.items() if not each.is_settled and each.state != "running"]
    if resumes:
        display.say("", "There is a checkpoint: the same command goes on from it, and what follows is at most.")
    if todo:
        groups = groups if len(todo) == len(runs) else arrange(todo, device)
        _describe(groups, display, console)


def _look_up(runs: Sequence[Run], uri: str, device: str) -> tuple[dict[Run, Known], bool]:
    """Return what the store knows of runs, and whether there is a checkpoint of them."""
    config = runs[0].config
    nothing = {run: Known("new") for run in runs}, False
    try:
        records = RunReader(uri)
    except ConfigError:  # There is no store yet.
        return nothing
    experiment = records.experiment_id(config.tracking.experiment or DEFAULT_EXPERIMENT)
    if not experiment:
        return nothing
    found = {} if config.runtime.rerun else records.of_signatures(experiment, [run.signature for run in runs])
    with RunLocks(masked(uri)) as claims:
        known = sort_out(runs, found, claims.others(), experiment)
    return known, (checkpoint_folder(runs, device, experiment, uri) / "state.npz").exists()


def _runs_table(known: dict[Run, Known]) -> Table:
    table = Table("run", "state", box=None, padding=(0, 2, 0, 0))
    for column in ("updates", "memory/update"):
        table.add_column(column, justify="right")
    for run, each in known.items():
        size = run.chunk * len(run.table.columns) * 4
        table.add_row(Text(run.name), each.state, f"{run.updates:,}", f"{millions(size)}B")
    return table


def _describe(groups: Sequence[Group], display: Display, console: Console) -> None:
    estimates = []
    for number, group in enumerate(groups, 1):
        run = group.lanes[0][0]
        rows = f"{run.table.train_rows:,} rows to train on, {run.table.holdout_rows:,} held out"
        display.say("", f"scan {number}: {run.table.source.name}, {rows}, {group.scan.epochs} epochs")
        table = Table("  cohort", box=None, padding=(0, 2, 0, 0))
        for column in ("lanes", "tiles", "runs"):
            table.add_column(column, justify="right")
        for cohort in group.scan.cohorts:
            lanes = [group.lanes[index] for index in cohort.lanes]
            table.add_row(
                f"  {_cohort(lanes[0][0])}",
                str(len(lanes)),
                f"{-(-len(lanes) // cohort.tile)} of {cohort.tile}",
                str(sum(map(len, lanes))),
            )
        console.print(table)
        estimates.append(_estimate(group))
    disk = sum({run.table.folder: _size(run.table.folder) for group in groups for run in group.lanes[0]}.values())
    train, compiling = (sum(getattr(each, name) for each in estimates) for name in ("train", "compile"))
    checkpoint, records = max(each.checkpoint for each in estimates), sum(each.records for each in estimates)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    display.say(
        "",
        f"time:   {_duration(compiling)} to compile, about {_duration(train)} to train and evaluate",
        f"memory: {millions(memory)}B, with all loops compiled",
        f"disk:   {millions(disk)}B of tables, {millions(checkpoint)}B of checkpoint, {millions(records)}B of records",
    )


def _cohort(run: Run) -> str:
    config = run.config
    chunk = "full" if config.is_full else f"chunk={config.chunksize}"
    model = config.model["_target_"].rpartition(".")[-1]
    return f"{chunk} {model} {config.optimizer['name']} {config.loss.value}"


def _estimate(group: Group) -> Estimate:
    """Train on the first blocks, and scale; a lane that leaves early takes its part of the time along."""
    scan, rows, start = group.scan, 0, time.monotonic()
    with contextlib.closing(scan.run()) as events:
        for event in events:
            if isinstance(event, Progress):
                rows = event.rows
                if time.monotonic() - start - scan.clocks.compile > LOOK_SECONDS:
                    break
    spent = scan.clocks
    a_row = (spent.read + spent.train) / max(rows, 1)
    run = group.lanes[0][0]
    epochs = [max(run.config.epochs for run in lane) for lane in group.lanes]
    passes = sum(epochs) / len(epochs)
    evaluated = spent.evaluate / rows * scan.rows if spent.evaluate else a_row * run.table.holdout_rows
    points = sum(
        run.config.epochs * EPOCH_POINTS + min(run.updates, run.config.tracking.curve_points)
        for run in itertools.chain(*group.lanes)
    )
    return Estimate(
        spent.compile,
        (a_row * scan.rows + evaluated) * passes,
        sum(values.nbytes for values in scan.state().values()),
        points * POINT_BYTES,
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
