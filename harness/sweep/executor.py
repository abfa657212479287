"""Executors, which decide where a group of lanes is trained. In: plain data. Out: events, clocks, checkpoint arrays."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from harness.config import FullSample, RuntimeConfig, Scaling
from harness.data.blocks import SLICE_ROWS, Blocks
from harness.data.scaler import Scaler
from harness.data.tables.table import Table, load_table
from harness.errors import require
from harness.formatting import data_size
from harness.runtime.device import available_bytes, choose_device, other_devices, usable_bytes
from harness.runtime.imports import find_target
from harness.runtime.keras_settings import dtype_policy
from harness.sweep.identity import source_code
from harness.sweep.measured_tiles import MeasuredTiles
from harness.training.arrangement import MeasuredTile
from harness.training.cohort import Cohort
from harness.training.encoding import Encoding
from harness.training.events import Event
from harness.training.halving import BracketPlan, Halving
from harness.training.lane import Lane
from harness.training.lanes import Recipe
from harness.training.losses import LossPlan, make_objective
from harness.training.stopper import Patience, PatienceRule, Stopper
from harness.training.trainer import Clocks, Scan


@dataclass(frozen=True)
class LanePlan:
    """A lane as plain data: a `harness.training.lane.Lane` with configurations instead of its recipe and model."""

    chunk: int
    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    loss: LossPlan
    seed: int
    learning_rate: float
    stops: Sequence[int]
    restore: str | None = None
    patience: PatienceRule | None = None


@dataclass(frozen=True)
class ScanPlan:
    """A scan as plain data, for an executor to build.

    Attributes:
        table: The table's folder.
        mean: Mean of each column: features, targets, weights.
        std: Standard deviation of each column, in the same order.
        lanes: The lanes; events refer to them by index.
        order_seed: Seed of the order of shuffled rows.
        scaling: How images are scaled, on the device.
        runtime: Speed, memory and precision.
        bracket: The lanes that are compared with each other, if a search prunes the worse ones.
    """

    table: str
    mean: Sequence[float]
    std: Sequence[float]
    lanes: Sequence[LanePlan]
    order_seed: int
    scaling: str
    runtime: RuntimeConfig
    curve_points: int
    early: bool
    bracket: BracketPlan | None = None


class Task(Protocol):
    """A scan that has passed all checks."""

    rows: int  # Training rows per epoch.
    epochs: int  # Epochs of its longest lane.
    clocks: Clocks
    reduction: str  # A sentence that says what was reduced because memory was short; empty if nothing was.

    @property
    def cohorts(self) -> Sequence[Cohort]:
        """Its lanes that share compiled loops."""
        ...

    @property
    def workers(self) -> int:
        """Maximum number of calls at the same time."""
        ...

    @property
    def bytes(self) -> float:
        """The memory that the scan needs, computed, not measured."""
        ...

    @property
    def device_bytes(self) -> int:
        """Memory of its device; 0 if unknown."""
        ...

    def run(self) -> Generator[Event]:
        """Train all lanes to their last stops."""
        ...

    def leave(self, lanes: Collection[int]) -> None:
        """End lanes before `run`, without events."""
        ...

    def time_alone(self, lanes: Collection[int]) -> dict[int, float]:
        """Return the seconds that one update of each of these lanes takes when trained alone."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays from which an identical task can continue after the last `Progress`."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from `state`; raises `ValueError` or `KeyError` if it is from a different task."""
        ...


class Executor(Protocol):
    """Where to train. Rounding depends on the `device`, so checkpoints are used only on the same device."""

    device: str
    others: Sequence[str]
    description: str

    @property
    def title(self) -> str:
        """A description of its devices."""
        ...

    def prepare(self, plan: ScanPlan) -> Task:
        """Build the models and run all checks that need no training; raises `ConfigError` if one fails."""
        ...


def choose_executor(runtime: RuntimeConfig, *, measured: bool) -> Executor:
    """Return the executor to train with; all commands use this function.

    Args:
        runtime: The configuration.
        measured: Whether to use the tiles that `harness tune` has measured. They depend on the lanes that are trained
            together and on the machine, so a sweep that is divided among workers uses the default tiles.
    """
    device, description = choose_device(runtime)
    tile = MeasuredTiles.of(runtime, description).tile if measured else _no_tile
    return LocalExecutor(device, description, other_devices(runtime), tile)


def _no_tile(kind: str) -> None:
    """Return None, since no tile was measured."""


@dataclass
class LocalExecutor:
    """Trains in this process, on one or several devices of the same kind."""

    device: str
    description: str = ""
    others: Sequence[str] = ()
    measured: MeasuredTile = _no_tile

    @property
    def title(self) -> str:
        """A description of the devices."""
        return f"{self.description}, {1 + len(self.others)} devices" if self.others else self.description

    def prepare(self, plan: ScanPlan) -> Scan:
        """Return the scan with its models built, but not compiled."""
        table, runtime = load_table(Path(plan.table)), plan.runtime
        scaler = Scaler.with_statistics(table, plan.mean, plan.std)
        is_resident = runtime.full_sample is FullSample.resident
        block_rows = table.train_rows if is_resident else runtime.block_rows
        train = Blocks(table, "train", scaler, block_rows=block_rows, overlap=SLICE_ROWS, seed=plan.order_seed)
        free = available_bytes(self.device, runtime.device_memory_mb)
        usable = usable_bytes(self.device, runtime.device_memory_mb)
        scan = Scan(
            [_lane(lane, table, runtime.precision.value) for lane in plan.lanes],
            train,
            Blocks(table, "holdout", scaler, block_rows=runtime.block_rows),
            Encoding.of(table, Scaling(plan.scaling)),
            tile=runtime.lane_tile,
            measured=self.measured,
            gram=runtime.gram,
            workers=runtime.workers,
            device=self.device,
            other_devices=self.others,
            device_bytes=usable,
            # TensorFlow never returns GPU memory that it has allocated, so little may seem to be free.
            free_bytes=(usable if "GPU" in self.device else free) or math.inf,
            curve_points=plan.curve_points,
            early=plan.early,
            test=Blocks(table, "test", scaler, block_rows=runtime.block_rows),
            stopper=_stopper(plan),
        )
        if free:
            for cohort in scan.cohorts:
                _check_memory(cohort, plan, train.rows, free)
            require(
                not is_resident or scan.block_bytes <= free,
                f"runtime.full_sample=resident needs {scan.block_bytes:,} bytes of memory for {train.rows:,} rows, but "
                f"{self.device} has {free:,} bytes. Use runtime.full_sample=streamed.",
            )
        return scan


def _check_memory(cohort: Cohort, plan: ScanPlan, rows: int, free: int) -> None:
    """Reject updates whose activations do not fit into the device's memory and cannot be computed in slices."""
    chunk = plan.lanes[cohort.lanes[0]].chunk
    needed, has = cohort.memory.of_rows(chunk), f"this device has {data_size(free)} available"
    is_resident = plan.runtime.full_sample is FullSample.resident
    is_sliced = cohort.step_rows <= cohort.strategy.slice_rows
    require(
        is_sliced or needed <= free,
        f"chunksize={chunk}: an update needs {data_size(needed)}, but {has}. It cannot be computed in slices, "
        f"because these layers normalize over the whole batch: {', '.join(cohort.batch_layers)}. Use a smaller "
        "chunksize, or other layers.",
    )
    require(
        not (is_resident and chunk == rows and cohort.strategy.slice_rows < SLICE_ROWS) or needed <= free,
        f"runtime.full_sample=resident: the whole sample in one update takes {data_size(needed)}, but {has}. Use "
        "runtime.full_sample=streamed, which computes the same update in slices.",
    )


def model_builder(
    model: Mapping[str, Any], outputs: int = 1, precision: str = "float32"
) -> Callable[[Any], keras.Model]:
    """Return the function that builds `model` as configured, for a number of inputs or the shape of one input.

    Its layers compute in `precision`, a Keras dtype policy. It raises `ConfigError` if the model has several outputs.
    """
    build, arguments = find_target(model["_target_"]), model_arguments(model)
    own = (outputs,) if takes_outputs(build, arguments) else ()

    def built(inputs: Any) -> keras.Model:
        with dtype_policy(precision):
            made = build(inputs, *own, **arguments)
        if getattr(made, "outputs", None) and not isinstance(made, keras.Sequential):  # Others are not built yet.
            require_one_output(model["_target_"], made.output)
        return made

    return built


def require_one_output(target: str, output: Any) -> None:
    """Reject a model, built by the function `target`, unless its output is a single tensor."""
    number = len(keras.tree.flatten(output))
    what = "a single output as a " + type(output).__name__ if number == 1 else f"{number} outputs"
    require(hasattr(output, "shape"), f"{target} returns a model with {what}. It must return a single tensor.")


def takes_outputs(build: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
    """Return True if a model's function receives the number of outputs as its second argument.

    It does if this argument is called `outputs`, `targets` or `classes`, or has no default, and is not configured.
    """
    second = [*inspect.signature(build).parameters.values()][1:2]
    return any(
        item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
        and item.name not in arguments
        and (item.default is item.empty or item.name in ("outputs", "targets", "classes"))
        for item in second
    )


def model_arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configured keyword arguments of a model's function."""
    return {key: value for key, value in model.items() if key != "_target_"}


def _lane(plan: LanePlan, table: Table, precision: str) -> Lane:
    objective = make_objective(plan.loss, table)
    target = plan.model["_target_"]
    facts = [plan.model, source_code(target), plan.optimizer, asdict(plan.loss), precision]
    identity = json.dumps(facts, sort_keys=True)
    build = model_builder(plan.model, objective.outputs, precision)
    recipe = Recipe(identity, build, plan.optimizer, objective, shared_as=(identity, find_target(target)))
    return Lane(plan.chunk, recipe, plan.seed, plan.learning_rate, tuple(plan.stops), plan.restore)


def _stopper(plan: ScanPlan) -> Stopper | None:
    rules = {index: lane.patience for index, lane in enumerate(plan.lanes) if lane.patience}
    patience = Patience(rules) if rules else None
    return Halving(plan.bracket, patience) if plan.bracket else patience
