"""`harness plan`: shows what training would do."""

from __future__ import annotations

import contextlib
import functools
import itertools
import operator
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from harness.config import DEFAULT_EXPERIMENT, Config
from harness.data.tables.pages import DamagedTable
from harness.errors import ConfigError
from harness.escaping import visible
from harness.formatting import count, data_size, duration
from harness.runtime.secrets import masked, shown
from harness.sweep.batch import checkpoint_folder
from harness.sweep.checkpoint import checkpoint_exists
from harness.sweep.display import Display
from harness.sweep.executor import Executor, choose_executor
from harness.sweep.identity import search_signature
from harness.sweep.model_log import describe_unloggable, require_some_model
from harness.sweep.plan import Run, prepare, rebuild_table
from harness.sweep.run_locks import locks_of
from harness.sweep.run_state import RunState, find_states
from harness.sweep.scan_loop import PreparedScan, prepare_scans
from harness.sweep.search.bracket import RunBracket, bracket_of
from harness.sweep.search.search import Search
from harness.sweep.search.seeds import describe_unseeded
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.preconditions import require_same_tiles, require_server
from harness.sweep.tasks.preparation import tables_on
from harness.sweep.tasks.scaling import ScanSeconds, describe_tasks
from harness.tracking.reader import RunReader
from harness.tracking.store_identity import store_identity
from harness.tracking.uri import tracking_uri
from harness.training.events import Progress

TRIAL_SECONDS = 2.0  # How long to train a scan to estimate its time, in seconds.
VALUE_BYTES = 330  # Measured size of a metric value in SQLite, including indexes.
EPOCH_VALUES = 10  # Metric values recorded per epoch.


def preview(
    configs: Sequence[Config],
    display: Display,
    search: Search | None = None,
    cluster: Cluster | None = None,
    *,
    one_by_one: bool = False,
) -> None:
    """Print each run's state and the scans to train, with their estimated cost; sources without a table are parsed.

    For a `search`, the runs are its trials. If they are trained `one_by_one`, each run has a scan of its own.
    """
    if cluster and cluster.is_remote:
        require_server(configs[0].tracking.uri)
    executor = choose_executor(configs[0].runtime, measured=not cluster)
    if cluster and "GPU" in executor.device:
        require_same_tiles(cluster, configs[0])
    proposed = prepare(configs, display.reading, display.say, tables_on(cluster, "harness plan", display))
    runs = list(dict.fromkeys(proposed))
    own = search_signature(search.facts, [run.signature for run in runs]) if search else ""
    for run in runs:
        run.search = own
    bracket = bracket_of(proposed, search)
    prepare_some = functools.partial(_prepare_each if one_by_one else prepare_scans, executor=executor, bracket=bracket)
    scans = prepare_some(runs)
    require_some_model(runs)
    display.clear()
    uri = tracking_uri(configs[0].tracking.uri)
    states, has_checkpoint = _look_up(runs, uri, executor.device)
    experiment = configs[0].tracking.experiment or DEFAULT_EXPERIMENT
    display.say(f"device: {executor.title}", f"store:  {masked(uri)}, experiment {experiment}")
    counts = Counter(state.name for state in states.values())
    display.say(*(f"model:  {sentence}" for sentence in describe_unloggable(runs)))
    by_state = ", ".join(f"{number} {name}" for name, number in counts.items())
    display.say(f"{count(len(runs), 'run')}: {by_state}", "")
    if search:
        display.say(*search.describe(describe_unseeded(runs) if search.trial_seed is not None else ""), "")
    display.console.print(_runs_table(states))
    todo = [run for run, state in states.items() if not state.has_result and state.name != "running"]
    if has_checkpoint:
        display.say("", "The same command will resume from a checkpoint; these are upper bounds.")
    if todo:
        display.say("")
        share = search.lane_epochs / (search.epochs * len(proposed)) if search else 1.0
        scans = scans if len(todo) == len(runs) else prepare_some(todo)
        if one_by_one:
            display.say("This launcher trains each run on its own, one after another.")
        _print_scans(_alike(scans) if one_by_one else [[scan] for scan in scans], prepare_some, display, share, cluster)


def _prepare_each(runs: Sequence[Run], executor: Executor, bracket: RunBracket | None) -> list[PreparedScan]:
    return [scan for run in runs for scan in prepare_scans([run], executor, bracket)]


def _alike(scans: Sequence[PreparedScan]) -> list[list[PreparedScan]]:
    """Group scans of a single run each that take the same time per epoch."""
    groups: dict[tuple[Path, str], list[PreparedScan]] = {}
    for scan in scans:
        (cohort,) = scan.task.cohorts
        groups.setdefault((scan.lanes[0][0].table.folder, cohort.options.kind), []).append(scan)
    return [*groups.values()]


def _look_up(runs: Sequence[Run], uri: str, device: str) -> tuple[dict[Run, RunState], bool]:
    """Return each run's state in the store, and whether the sweep can resume from a checkpoint."""
    config = runs[0].config
    nothing = {run: RunState("new") for run in runs}, False
    try:
        reader = RunReader(uri)
    except ConfigError:  # The store does not exist yet.
        return nothing
    experiment = reader.experiment_id(config.tracking.experiment or DEFAULT_EXPERIMENT)
    if not experiment:
        return nothing
    records = {} if config.runtime.rerun else reader.of_signatures(experiment, [run.signature for run in runs])
    states = find_states(runs, records, set(), lambda record: False, experiment)
    with contextlib.suppress(ConfigError), locks_of(uri, reader.client) as locks:  # The store may be read-only.
        states = find_states(runs, records, locks.others(), locks.knows, experiment)
    return states, checkpoint_exists(checkpoint_folder(runs, device, experiment, store_identity(uri, reader.client)))


def _runs_table(states: dict[Run, RunState]) -> Table:
    table = Table("run", "state", box=None, padding=(0, 2, 0, 0))
    for column in ("updates", "memory/update"):
        table.add_column(column, justify="right")
    for run, state in states.items():
        table.add_row(Text(shown(run.name)), state.name, f"{run.updates:,}", data_size(run.update_bytes))
    return table


def _print_scans(
    alike: Sequence[Sequence[PreparedScan]],
    prepare_some: Callable[[Sequence[Run]], list[PreparedScan]],
    display: Display,
    share: float,
    cluster: Cluster | None,
) -> None:
    """Print the scans, their cost, and the tasks for a cluster; lanes train for a `share` of their epochs.

    Of scans that are `alike`, only the first is estimated.
    """
    scans, estimates = _estimate_all([first for first, *_ in alike], prepare_some, display)
    one_by_one, number = 0.0, 0
    for scan, group in zip(scans, alike, strict=True):
        numbers = f"scan {number + 1}" if len(group) == 1 else f"scans {number + 1} to {number + len(group)}"
        number += len(group)
        epochs = sorted({each.task.epochs for each in group})
        data = scan.lanes[0][0].table
        rows = f"{count(data.train_rows, 'training row')}, {count(data.holdout_rows, 'holdout row')}"
        rows += f", {count(data.test_rows, 'test row')}" if data.test_rows else ""
        listed_epochs = f"{', '.join(map(str, epochs[:-1]))}{' or ' * (len(epochs) > 1)}{count(epochs[-1], 'epoch')}"
        display.say(f"{numbers}: {data.name}, {rows}, {listed_epochs}")
        if scan.task.reduction:
            display.say(f"memory: {scan.task.reduction}")
        display.console.print(_cohorts_table(scan, alone := scan.task.time_alone(range(len(scan.lanes)))), "")
        one_by_one += sum(run.updates * alone[lane] for each in group for lane in alone for run in each.lanes[lane])
    folders = {scan.lanes[0][0].table.folder for scan in scans}
    disk = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    times, checkpoints, records = zip(*estimates, strict=True)
    # Compiled loops are kept for the other scans that are alike.
    repeats = [sum(scan.task.epochs for scan in group) / group[0].task.epochs for group in alike]
    times = [
        replace(each, read=each.read * share * times_trained, train=each.train * share * times_trained)
        for each, times_trained in zip(times, repeats, strict=True)
    ]
    needed = max(scan.task.bytes for scan in scans)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sizes = f"checkpoint {data_size(max(checkpoints))}, records {data_size(sum(map(operator.mul, records, repeats)))}"
    compiling = duration(sum(each.compile for each in times))
    training = duration(sum(each.read + each.train for each in times))
    display.say(
        f"time:   {compiling} to compile, about {training} to train and evaluate",
        f"alone:  about {duration(one_by_one)} if each run were trained on its own, excluding reading and evaluation",
        f"memory: {data_size(memory)} with all loops compiled; {data_size(needed)} computed for the largest scan",
        f"disk:   tables {data_size(disk)}, {sizes}",
        *(describe_tasks(scans, times, cluster) if cluster else ()),
    )


def _cohorts_table(scan: PreparedScan, alone: Mapping[int, float]) -> Table:
    """Return the table of a scan's cohorts; `alone` holds the seconds that one update of each lane takes."""
    table = Table("  cohort", box=None, padding=(0, 2, 0, 0))
    for column in ("runs", "lanes", "tiles", "lanes/tile", "update alone"):
        table.add_column(column, justify="right")
    for cohort in scan.task.cohorts:
        lanes = [scan.lanes[index] for index in cohort.lanes]
        length = f"{cohort.tile}{' measured' if cohort.is_measured else ''}"
        counts = map(str, (sum(map(len, lanes)), len(lanes), cohort.tiles, length))
        seconds = alone.get(cohort.lanes[0])
        name = Text(f"  {visible(cohort_name(lanes[0][0]))}")
        table.add_row(name, *counts, "" if seconds is None else short_duration(seconds))
    return table


def cohort_name(run: Run) -> str:
    """Return a name for the lanes that are updated like this run."""
    config = run.config
    chunk = "full" if config.is_full else f"chunk={config.chunksize}"
    model = config.model["_target_"].rpartition(".")[-1]
    return f"{chunk} {model} {config.optimizer['name']} {config.loss.value}"


def _estimate_all(
    scans: Sequence[PreparedScan], prepare_some: Callable[[Sequence[Run]], list[PreparedScan]], display: Display
) -> tuple[Sequence[PreparedScan], list[tuple[ScanSeconds, int, int]]]:
    """Return the scans, which are new if a damaged table was rebuilt, and the result of `_estimate` for each."""
    rebuilt = set[Path]()
    while True:
        try:
            return scans, [_estimate(scan) for scan in scans]
        except DamagedTable as error:
            runs = [run for scan in scans for lane in scan.lanes for run in lane]
            rebuild_table(error, runs, rebuilt, display.reading, display.say)
            display.clear()
            scans = prepare_some(runs)


def _estimate(scan: PreparedScan) -> tuple[ScanSeconds, int, int]:
    """Train on the first blocks; return seconds to compile and train, and bytes of the checkpoint and the records."""
    task, rows, start = scan.task, 0, time.monotonic()
    with contextlib.closing(task.run()) as events:
        for event in events:
            if isinstance(event, Progress):
                rows = event.rows
                if time.monotonic() - start - task.clocks.compile > TRIAL_SECONDS:
                    break
    clocks, table = task.clocks, scan.lanes[0][0].table
    epochs = [sorted(run.config.epochs for run in lane) for lane in scan.lanes]
    epoch_read, train = clocks.read / max(rows, 1) * task.rows, clocks.train / max(rows, 1) * task.rows
    held_out = (epoch_read + train) / task.rows * table.holdout_rows
    evaluation = clocks.evaluate / rows * task.rows if clocks.evaluate else held_out
    # A lane that ends early takes only part of the time.
    average = sum(lane[-1] for lane in epochs) / len(epochs)
    seconds = ScanSeconds(clocks.compile, epoch_read * average, (train + evaluation) * average)
    state = sum(array.nbytes for array in task.state().values())
    runs = [*itertools.chain(*scan.lanes)]
    values = sum(run.config.epochs * EPOCH_VALUES + min(run.updates, run.config.tracking.curve_points) for run in runs)
    return seconds, state, values * VALUE_BYTES


def short_duration(seconds: float) -> str:
    """Format a duration, such as that of an update, with three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
