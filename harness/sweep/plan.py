"""Configurations -> runs -> scans: all checks are here, and nothing is trained or recorded."""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras

from harness.config import Config, FullSample, Loss
from harness.config.naming import ALWAYS, differing
from harness.data.blocks import SLICE_ROWS, Blocks, Scaler
from harness.data.ingest import ProgressCallback
from harness.data.table import Table, check_streams, open_table
from harness.data.table_writer import PARTS
from harness.errors import ConfigError, require
from harness.runtime.device import available_bytes
from harness.runtime.imports import find_target
from harness.sweep.identity import signature
from harness.training.lanes import Recipe
from harness.training.optimizers import check_settings
from harness.training.tile import Lane
from harness.training.trainer import Scan

LABEL_ROWS = 1 << 20


@dataclass(eq=False)
class Run:
    """One configuration on its way to a record; configurations of one signature share one.

    Attributes:
        config: The configuration.
        table: Its data.
        signature: What makes it this run.
        name: What sets it apart from its companions.
        command: What repeats it alone.
        run_id: MLflow's, once it is started.
        sweeps: The summary runs that it belongs to.
        status: `FINISHED`, `FAILED` or `KILLED` once it has ended.
        reason: Why it failed.
        objective: Final `val/loss`, or `train/loss` without a holdout; infinite if it failed.
    """

    config: Config
    table: Table
    signature: str
    name: str = ""
    command: str = ""
    run_id: str = ""
    sweeps: list[str] = field(default_factory=list)
    status: str = ""
    reason: str = ""
    objective: float = math.inf

    @property
    def chunk(self) -> int:
        """Rows of one update."""
        return self.config.chunk_rows(self.table.train_rows)

    @property
    def updates(self) -> int:
        """Updates of the whole run."""
        return -(-self.table.train_rows // self.chunk) * self.config.epochs

    @functools.cached_property
    def scaler(self) -> Scaler:
        """What scaling does to its data; labels are left as they are."""
        labels = self.config.loss is Loss.binary_crossentropy
        return Scaler.of(self.table, self.config.data.scaling, scale_target=not labels)


@dataclass(frozen=True)
class Group:
    """Runs with the same data and split, and the scan that trains them; `lanes[i]` are the runs of its lane `i`."""

    lanes: list[list[Run]]
    scan: Scan


def prepare(configs: Sequence[Config], progress: ProgressCallback) -> list[Run]:
    """Check all `configs` and their data.

    Returns:
        A run for each configuration, in order.

    Raises:
        ConfigError: One of them cannot be trained.
    """
    for part in ("runtime", "tracking"):
        values = {repr(getattr(config, part)) for config in configs}
        require(len(values) == 1, f"{part} expected one value for all runs of a sweep", f"{len(values)} values")
    check_streams([config.data for config in configs])
    tables: dict[str, Table] = {}
    runs: dict[str, Run] = {}
    order = []
    for config in configs:
        _check_model(config)
        check_settings(config.optimizer)
        key = repr(replace(config.data, scaling=configs[0].data.scaling))
        if key not in tables:
            cache = Path(config.runtime.cache).absolute()
            tables[key] = open_table(config.data, cache, progress, config.runtime.reader)
        _check_labels(config, tables[key])
        identity = signature(config, tables[key])
        order.append(runs.setdefault(identity, Run(config, tables[key], identity)))
    _name(list(runs.values()))
    return order


def arrange(runs: Sequence[Run], device: str) -> list[Group]:
    """Sort runs into scans, and build those.

    Runs that differ in `epochs` only are one lane: the shorter is the beginning of the longer.

    Raises:
        ConfigError: A model cannot be trained as it is asked for, or the sample has no room where it is to stay.
    """
    scans: dict[tuple, dict[str, list[Run]]] = {}
    for run in runs:
        data = (run.table.folder, run.config.data.scaling, run.scaler.std[-1])
        lane = signature(replace(run.config, epochs=1), run.table)
        scans.setdefault(data, {}).setdefault(lane, []).append(run)
    return [_group(list(lanes.values()), device) for lanes in scans.values()]


def _group(lanes: list[list[Run]], device: str) -> Group:
    first, runtime = lanes[0][0], lanes[0][0].config.runtime
    resident = runtime.full_sample is FullSample.resident
    block_rows = first.table.train_rows if resident else runtime.block_rows
    train = Blocks(first.table, "train", first.scaler, block_rows=block_rows, overlap=SLICE_ROWS)
    if resident:
        free = available_bytes(device, runtime.device_memory_mb)
        require(
            not free or train.bytes <= free,
            f"runtime.full_sample=resident expected {train.bytes:,} bytes of memory for {train.rows:,} rows",
            f"{free:,} bytes on {device}",
            "Use runtime.full_sample=streamed.",
        )
    scan = Scan(
        [_lane(runs) for runs in lanes],
        train,
        Blocks(first.table, "holdout", first.scaler, block_rows=runtime.block_rows),
        tile=runtime.lane_tile,
        gram=runtime.gram,
        workers=runtime.workers,
        device=device,
        curve_points=first.config.tracking.curve_points,
    )
    return Group(lanes, scan)


def model_builder(config: Config) -> Callable[[int], keras.Model]:
    """Return the function of the number of inputs that builds the model of a configuration."""
    arguments = {key: value for key, value in config.model.items() if key != "_target_"}
    return functools.partial(find_target(config.model["_target_"]), **arguments)


def _lane(runs: Sequence[Run]) -> Lane:
    config = runs[0].config
    recipe = Recipe(
        identity=json.dumps([config.model, config.optimizer, config.loss.value], sort_keys=True),
        build_model=model_builder(config),
        optimizer=config.optimizer,
        loss=config.loss,
    )
    stops = sorted({run.config.epochs for run in runs})
    return Lane(runs[0].chunk, recipe, config.seed, config.learning_rate, tuple(stops))


def _check_model(config: Config) -> None:
    target: Callable[..., keras.Model] = find_target(config.model["_target_"])
    arguments = {key: value for key, value in config.model.items() if key != "_target_"}
    try:
        inspect.signature(target).bind(1, **arguments)
    except TypeError as error:
        known = list(inspect.signature(target).parameters)[1:]
        raise ConfigError(
            f"model expected arguments of {config.model['_target_']}. Received: {sorted(arguments)} ({error}). "
            f"It has: {', '.join(known) or 'none besides the number of inputs'}."
        ) from error


def _check_labels(config: Config, table: Table) -> None:
    """Refuse targets that are no labels, where labels are predicted; the holdout's too."""
    if config.loss is not Loss.binary_crossentropy:
        return
    for part in PARTS:
        for start in range(0, table.rows(part), LABEL_ROWS):
            values = table.read(part, start, min(start + LABEL_ROWS, table.rows(part)))[-1]
            strange = values[(values != 0) & (values != 1)]
            target = table.columns[-1].name
            require(
                not strange.size,
                f"loss=binary_crossentropy expected labels 0 and 1 in {target}",
                f"{strange[:1].sum():g}",
            )


def _name(runs: Sequence[Run]) -> None:
    """Name runs by chunksize, learning rate, epochs, and whatever else they do not all share."""
    flat = [run.config.flat() for run in runs]
    others = [key for key in differing(flat) if key not in ALWAYS]
    for run, values in zip(runs, flat, strict=True):
        parts = ["full" if run.config.is_full else f"chunk={values['chunksize']}"]
        parts += [f"lr={values['learning_rate']:g}", f"epochs={values['epochs']}"]
        parts += [_named(key, values.get(key)) for key in others if values.get(key) is not None]
        run.name = " ".join(parts)


def _named(key: str, value: object) -> str:
    """Write a setting by the last word of its key, and what a group has chosen by the group's."""
    key = key.removesuffix(".name").removesuffix("._target_").rpartition(".")[-1]
    return f"{key}={str(value).removeprefix('harness.models.')}"
