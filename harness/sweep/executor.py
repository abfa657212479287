"""Where a group of lanes is trained: plain data in, events, clocks and checkpoint arrays out.

`LocalExecutor` trains in this process. Any other place, such as a cluster, is another class with the same two methods.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from harness.config import Loss
from harness.data.blocks import SLICE_ROWS, Blocks, Scaler
from harness.data.table import load_table
from harness.errors import require
from harness.runtime.device import available_bytes
from harness.sweep.model_target import model_builder
from harness.training.events import Event
from harness.training.lanes import Recipe
from harness.training.tile import Lane
from harness.training.trainer import Clocks, Cohort, Scan


@dataclass(frozen=True)
class LanePlan:
    """A lane as plain data; see `harness.training.tile.Lane`.

    Attributes:
        chunk: Rows per update.
        model: `_target_` and the arguments of that function.
        optimizer: `name` and the arguments of the Keras optimizer.
        loss: The name of the loss.
        seed: Seeds the initial weights and the layers' random streams.
        learning_rate: The optimizer's.
        stops: Epochs after which a result is wanted, ascending.
    """

    chunk: int
    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    loss: str
    seed: int
    learning_rate: float
    stops: Sequence[int]


@dataclass(frozen=True)
class ScanPlan:
    """A scan as plain data, for an executor to build.

    Attributes:
        table: The table's folder.
        mean: Subtracted from each column, the target last.
        std: Divides each column after that.
        lanes: Events name them by index.
        resident: Keep the whole sample in device memory.
        block_rows: See `runtime.block_rows`, as for the three below.
        device_memory_mb: Limits what a resident sample may take.
        tile: `runtime.lane_tile`.
        gram: `runtime.gram`.
        workers: `runtime.workers`.
        curve_points: See `tracking.curve_points`.
    """

    table: str
    mean: Sequence[float]
    std: Sequence[float]
    lanes: Sequence[LanePlan]
    resident: bool
    block_rows: int | None
    device_memory_mb: int | None
    tile: int | None
    gram: bool
    workers: int | None
    curve_points: int

    def to_json(self) -> str:
        """Return the plan as JSON; floats keep every bit."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ScanPlan:
        """Return the plan that `to_json` wrote."""
        values = json.loads(text)
        return cls(**values | {"lanes": [LanePlan(**lane) for lane in values["lanes"]]})


class Task(Protocol):
    """A scan that passed all checks: it runs once and can be saved and restored at any `Progress` event."""

    @property
    def rows(self) -> int:
        """Training rows per epoch."""
        ...

    @property
    def epochs(self) -> int:
        """Epochs of the longest lane."""
        ...

    @property
    def cohorts(self) -> Sequence[Cohort]:
        """Lanes grouped by the compiled loop they share."""
        ...

    @property
    def clocks(self) -> Clocks:
        """Time spent so far."""
        ...

    def run(self) -> Generator[Event]:
        """Train all lanes to their last stops."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays from which an equal task can continue."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from `state`; raises `ValueError` or `KeyError` if it belongs to another task."""
        ...


class Executor(Protocol):
    """A place to train."""

    @property
    def device(self) -> str:
        """The device, which rounding depends on; a checkpoint is only used on the same one."""
        ...

    def prepare(self, plan: ScanPlan) -> Task:
        """Build the models and check everything that can be checked before training.

        Raises:
            ConfigError: A model cannot be trained as configured, or the sample does not fit in memory.
        """
        ...


class LocalExecutor:
    """Trains in this process on one device."""

    def __init__(self, device: str) -> None:
        self.device = device

    def prepare(self, plan: ScanPlan) -> Scan:
        """Return the scan, with its models built and nothing compiled yet; see `Executor.prepare`."""
        table = load_table(Path(plan.table))
        scaler = Scaler(np.array(plan.mean), np.array(plan.std), table.columns[-1].log)
        block_rows = table.train_rows if plan.resident else plan.block_rows
        train = Blocks(table, "train", scaler, block_rows=block_rows, overlap=SLICE_ROWS)
        if plan.resident:
            free = available_bytes(self.device, plan.device_memory_mb)
            require(
                not free or train.bytes <= free,
                f"runtime.full_sample=resident needs {train.bytes:,} bytes of memory for {train.rows:,} rows, but "
                f"{self.device} has {free:,} bytes. Use runtime.full_sample=streamed.",
            )
        return Scan(
            [_lane(lane) for lane in plan.lanes],
            train,
            Blocks(table, "holdout", scaler, block_rows=plan.block_rows),
            tile=plan.tile,
            gram=plan.gram,
            workers=plan.workers,
            device=self.device,
            curve_points=plan.curve_points,
        )


def _lane(plan: LanePlan) -> Lane:
    recipe = Recipe(
        identity=json.dumps([plan.model, plan.optimizer, plan.loss], sort_keys=True),
        build_model=model_builder(plan.model),
        optimizer=plan.optimizer,
        loss=Loss(plan.loss),
    )
    return Lane(plan.chunk, recipe, plan.seed, plan.learning_rate, tuple(plan.stops))
