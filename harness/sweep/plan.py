"""Configurations -> runs -> groups of runs that share a scan; all configurations and data are checked here."""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from harness.config import Config, Loss, Order, Restore
from harness.config.metrics import cost, deciding_metric
from harness.config.naming import ALWAYS, differing
from harness.data.classes import class_weights
from harness.data.ingest import ProgressCallback
from harness.data.scaler import Scaler
from harness.data.tables.builder import check_streams, open_table, replace_table
from harness.data.tables.pages import DamagedTable
from harness.data.tables.table import Table
from harness.errors import ConfigError, require
from harness.runtime.imports import find_target
from harness.sweep.executor import LanePlan, ScanPlan, model_arguments, model_builder, takes_outputs
from harness.sweep.identity import signature
from harness.training.cohort import Cohort
from harness.training.early import early_updates
from harness.training.losses import LossPlan, make_objective
from harness.training.objective import Objective
from harness.training.optimizers import check_settings
from harness.training.stopper import PatienceRule


@dataclass(eq=False)
class Run:
    """A configuration and its result; configurations with the same signature share one run."""

    config: Config
    table: Table
    signature: str
    name: str = ""  # Consists of the settings in which the run differs from others.
    command: str = ""  # The command that trains only this run.
    run_id: str = ""  # MLflow's run id, once the run has been started.
    sweeps: list[str] = field(default_factory=list)  # Ids of the summary runs that it belongs to.
    status: str = ""  # `FINISHED`, `FAILED` or `KILLED` once it has ended.
    reason: str = ""  # Why it failed.
    stopped_at: int | None = None  # The epoch after which it ended because it stopped improving.
    pruned_at: int | None = None  # The epoch after which a search pruned it.
    search: str = ""  # Signature of the search to which it belongs as a trial.
    lacks_model: bool = False  # Whether its model could not be logged.
    is_reused: bool = False  # Whether its result comes from an earlier command.
    has_model: bool = False  # Whether that command logged its model.
    cohort: Cohort | None = None  # How it is trained, once its scan has been prepared.
    scan_bytes: float = 0.0  # Memory that the scan needs, computed, not measured.
    device_bytes: int = 0  # Memory of the device that trains it.
    cost: float = math.inf  # Final value of the deciding metric, signed so that lower is better; infinite if it failed.

    @property
    def chunk(self) -> int:
        """Number of rows per update."""
        return self.config.chunk_rows(self.table.train_rows)

    @property
    def updates(self) -> int:
        """Number of updates in the whole run."""
        return -(-self.table.train_rows // self.chunk) * self.config.epochs

    @property
    def order_seed(self) -> int:
        """Seed of the order of its rows; runs with different orders need separate passes."""
        return self.config.seed if self.table.order is Order.shuffled else 0

    @property
    def early_updates(self) -> list[int]:
        """The updates after which the run is evaluated, apart from the ends of epochs."""
        rows, per_epoch = self.table.train_rows, self.updates // self.config.epochs
        return early_updates(self.config.epochs, per_epoch, rows, self.table.holdout_rows)

    @property
    def update_bytes(self) -> float:
        """Memory that an update needs in a plain implementation; before the scan is prepared, only that of its rows."""
        if self.cohort:
            return self.cohort.memory.of_rows(self.chunk)
        return self.chunk * sum(4 * math.prod(column.shape) for column in self.table.columns)

    @functools.cached_property
    def scaler(self) -> Scaler:
        """The scaler of the run's data; labels are not scaled."""
        return Scaler.of(self.table, self.config.data.scaling, scale_target=not self.config.loss.has_labels)

    @functools.cached_property
    def loss(self) -> LossPlan:
        """The loss and its parameters."""
        weights = class_weights(self.table, self.config.data.class_weight)
        return LossPlan.configured(self.config.loss, self.config.objective, weights)

    @functools.cached_property
    def objective(self) -> Objective:
        """The loss to minimize, and the metrics to compute."""
        return make_objective(self.loss, self.table)

    @property
    def build_model(self) -> Callable[[Any], keras.Model]:
        """Builds its model, for a number of inputs or the shape of one input."""
        config = self.config
        return model_builder(config.model, self.objective.outputs, config.runtime.precision.value)

    @property
    def metric(self) -> str:
        """The deciding metric."""
        return deciding_metric(self.config.objective.metric, held_out=self.table.holdout_rows > 0)

    def cost_of(self, metrics: Mapping[str, float]) -> float:
        """Return the deciding metric, signed so that lower is better; infinite if it is missing."""
        return cost(self.metric, metrics)


@dataclass(frozen=True)
class Group:
    """Runs with the same rows in the same order: `plan` is their scan, and `lanes[i]` holds the runs of lane `i`."""

    lanes: list[list[Run]]
    plan: ScanPlan


def prepare(
    configs: Sequence[Config],
    progress: ProgressCallback,
    say: Callable[[str], None] = lambda line: None,
    make_tables: Callable[[Sequence[Config]], None] = lambda configs: None,
) -> list[Run]:
    """Check configurations and their data, and return their runs.

    Args:
        configs: The configurations.
        progress: Called while a source is being read.
        say: Called with messages about the data.
        make_tables: Called before tables are opened, after everything that needs no data has been checked.

    Raises:
        ConfigError: A configuration cannot be trained.
    """
    for section in ("runtime", "tracking", "objective.metric"):
        values = {repr(operator.attrgetter(section)(config)) for config in configs}
        require(len(values) == 1, f"{section} must be the same for all runs of a sweep, not {len(values)} values.")
    check_streams([config.data for config in configs])
    tables: dict[str, Table] = {}
    runs: dict[str, Run] = {}
    checked: set[tuple[str, Loss]] = set()
    optimizers: set[str] = set()  # Models that have already been checked.
    order = []
    for config in configs:
        _check_model(config)
        if (settings := repr(config.optimizer)) not in optimizers:
            optimizers.add(settings)
            check_settings(config.optimizer)
    make_tables(configs)
    for config in configs:
        key = repr(replace(config.data, scaling=configs[0].data.scaling))
        cache = Path(config.runtime.cache).absolute()
        if key not in tables:
            tables[key] = open_table(config.data, cache, progress, say)
        if (key, config.loss) not in checked:
            checked.add((key, config.loss))
            try:
                _check_targets(config, tables[key])
            except DamagedTable as error:
                say(f"{error} Rebuilding it from its source.")
                tables[key] = replace_table(tables[key], config.data, cache, progress, say)
                _check_targets(config, tables[key])
        identity = signature(config, tables[key])
        run = runs.setdefault(identity, Run(config, tables[key], identity))
        _check_metric("objective.metric", config.objective.metric, run)
        _check_metric("stopping.metric", config.stopping.metric, run)
        order.append(run)
    _name(list(runs.values()))
    return order


def rebuild_table(
    error: DamagedTable,
    runs: Sequence[Run],
    rebuilt: set[Path],
    progress: ProgressCallback,
    say: Callable[[str], None],
) -> None:
    """Rebuild, from its source, the damaged table that some runs share, and add its folder to those `rebuilt`.

    Raises:
        DamagedTable: The table does not belong to these runs, or is damaged again.
        ConfigError: The source is gone, has changed, or was a stream.
    """
    damaged = [run for run in runs if run.table.folder == error.folder]
    if not damaged or error.folder in rebuilt:
        raise error
    rebuilt.add(error.folder)
    config, table = damaged[0].config, damaged[0].table
    say(f"{error} Rebuilding it from {table.address}.")
    table = replace_table(table, config.data, Path(config.runtime.cache).absolute(), progress, say)
    for run in damaged:
        run.table = table


def arrange(runs: Sequence[Run]) -> list[Group]:
    """Group runs by scan and lane; runs that differ only in `epochs` share a lane."""
    scans: dict[tuple, dict[str, list[Run]]] = {}
    for run in runs:
        data = (run.table.folder, run.config.data.scaling, tuple(run.scaler.std), run.order_seed)
        lane = signature(replace(run.config, epochs=1), run.table)
        scans.setdefault(data, {}).setdefault(lane, []).append(run)
    return [Group(lanes, _scan_plan(lanes)) for lanes in ([*scan.values()] for scan in scans.values())]


def _scan_plan(lanes: Sequence[Sequence[Run]]) -> ScanPlan:
    first = lanes[0][0]
    return ScanPlan(
        table=str(first.table.folder),
        mean=first.scaler.mean.tolist(),
        std=first.scaler.std.tolist(),
        lanes=[_lane_plan(runs) for runs in lanes],
        order_seed=first.order_seed,
        scaling=first.config.data.scaling.value,
        runtime=first.config.runtime,
        curve_points=first.config.tracking.curve_points,
        early=first.config.tracking.early_updates,
    )


def _lane_plan(runs: Sequence[Run]) -> LanePlan:
    chunk, config, stops = runs[0].chunk, runs[0].config, sorted({run.config.epochs for run in runs})
    lane = LanePlan(chunk, config.model, config.optimizer, runs[0].loss, config.seed, config.learning_rate, stops)
    stopping = config.stopping
    if not stopping.is_on:
        return lane
    metric = stopping.metric or runs[0].metric
    rule = PatienceRule(metric, stopping.patience, stopping.min_delta) if stopping.patience else None
    return replace(lane, restore=metric if stopping.restore is Restore.best else None, patience=rule)


def _check_model(config: Config) -> None:
    """Check that the model's function exists and accepts the given arguments, without building a model."""
    target, arguments = config.model["_target_"], model_arguments(config.model)
    build = find_target(target)
    signature = inspect.signature(build)
    given = (1, 1) if takes_outputs(build, arguments) else (1,)
    try:
        signature.bind(*given, **arguments)
    except TypeError as error:
        known = ", ".join([*signature.parameters][len(given) :])
        own = "numbers of inputs and outputs" if len(given) > 1 else "number of inputs"
        takes = f"It takes {known}." if known else f"It takes no argument except the {own}."
        raise ConfigError(
            f"model: {target} cannot be called with the arguments {sorted(arguments)}: {error}. {takes}"
        ) from error


def _check_metric(key: str, metric: str | None, run: Run) -> None:
    """Check that runs record a metric every epoch."""
    held_out = ("val/loss", *run.objective.metrics) if run.table.holdout_rows else ()
    known = ("train/loss", *held_out)
    holdout = "" if held_out or str(metric) in known else " There is no holdout: data.holdout is 0."
    require(metric is None or metric in known, f"{key} must be one of {', '.join(known)}, not {metric}.{holdout}")


def _check_targets(config: Config, table: Table) -> None:
    """Check all labels, including those that are not trained on."""
    if not config.loss.has_labels:
        return
    objective = make_objective(LossPlan(config.loss.value), table)
    for part in table.parts:
        for values_of_targets in table.read_pages(part, table.targets):
            for column, values in zip(table.targets, values_of_targets, strict=True):
                objective.check_targets(column.name, values)


def _name(runs: Sequence[Run]) -> None:
    """Name runs after their chunksize, learning rate, epochs and the other settings that differ."""
    flat = [run.config.flat() for run in runs]
    others = [key for key in differing(flat) if key not in ALWAYS]
    for run, values in zip(runs, flat, strict=True):
        parts = ["full" if run.config.is_full else f"chunk={values['chunksize']}"]
        parts += [f"lr={values['learning_rate']:g}", f"epochs={values['epochs']}"]
        parts += [_named(key, values.get(key)) for key in others if values.get(key) is not None]
        run.name = " ".join(parts)


def _named(key: str, value: object) -> str:
    """Name a setting after the last part of its key, and a group's choice after the group."""
    key = key.removesuffix(".name").removesuffix("._target_").rpartition(".")[-1]
    return f"{key}={str(value).removeprefix('harness.models.')}"
