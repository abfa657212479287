"""Helpers that run scans and collect their events."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from harness.config import DataConfig, Loss, Scaling
from harness.data.blocks import SLICE_ROWS, Blocks
from harness.data.scaler import Scaler
from harness.data.statistics import Column
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.models import linear
from harness.training.encoding import Encoding
from harness.training.events import Diverged, EpochEnd, Event, Failed, Progress, Stopped
from harness.training.lane import Lane
from harness.training.lanes import Recipe
from harness.training.losses import LossPlan, make_objective
from harness.training.objective import Objective
from harness.training.saved_state import State
from harness.training.trainer import Scan
from tests.tables import table_without_files


@dataclass
class History:
    """The events of one lane."""

    epochs: list[EpochEnd] = field(default_factory=list)
    weights: dict[int, list[np.ndarray]] = field(default_factory=dict)  # by epoch
    diverged: int | None = None
    error: str | None = None

    @property
    def curve(self) -> dict[int, float]:
        """Loss by update number."""
        return {int(n): float(loss) for end in self.epochs for n, loss in zip(*end.curve, strict=True)}

    @property
    def numbers(self) -> list:
        """All numbers except times, for bitwise comparison."""
        ends = [(end.epoch, end.updates, end.loss, end.metrics) for end in self.epochs]
        weights = {epoch: [value.tolist() for value in values] for epoch, values in self.weights.items()}
        return [ends, self.curve, weights, self.diverged]


def objective(loss: Loss = Loss.mse, table: Table | None = None) -> Objective:
    """Return the objective of a loss, by default for a single number."""
    target = Column("target", False, 1, mean=0, std=1, min=0, max=1)
    return make_objective(LossPlan(loss.value), table or table_without_files((target,), 1))


def recipe(build: Callable = linear, optimizer: dict | None = None, loss: Loss = Loss.mse) -> Recipe:
    optimizer = optimizer or {"name": "adam"}
    return Recipe(repr([build, optimizer, loss]), build, optimizer, objective(loss))


def lane(
    chunk: int, rate: float = 0.01, stops: tuple[int, ...] = (2,), seed: int = 0, recipe_: Recipe | None = None
) -> Lane:
    return Lane(chunk, recipe_ or recipe(), seed, rate, stops)


def noisy_table(folder: Path, rows: int) -> Table:
    """Return a table of `a` and `b`, and a target `y` that depends on both."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
    frame["y"] = frame["a"] - 2 * frame["b"] + rng.normal(size=rows)
    frame.to_csv(folder / "some.csv", index=False)
    return open_table(DataConfig(["a", "b"], "y", str(folder / "some.csv")), folder)


def sliced_table(folder: Path, **settings: Any) -> Table:
    """Return a table of 5,003 rows with, by default, 4,026 training rows: three slices and a remainder."""
    rng, features = np.random.default_rng(1), ["a", "b", "c"]
    frame = pd.DataFrame(rng.normal(size=(5003, 3)), columns=features)
    frame["y"] = frame @ [1.0, -2.0, 0.5] + rng.normal(size=5003) + 3
    frame["label"] = (frame["y"] > 3).astype(int)
    frame.to_csv(folder / "some.csv", index=False)
    return open_table(
        DataConfig(**{"features": features, "target": "y", "path": str(folder / "some.csv"), **settings}), folder
    )


def breaks_in_training(inputs: int) -> keras.Model:
    """Build a model that fails in training, but not before."""

    class Layer(keras.layers.Layer):
        def call(self, x, training=False):
            if training:
                raise RuntimeError("not in training")
            return x[:, :1]

    return keras.Sequential([keras.Input((inputs,)), Layer()])


def make_scan(
    lanes: Sequence[Lane], table: Table, scaler: Scaler | None = None, *, block_rows: int | None = None, **options: Any
) -> Scan:
    """Return a scan of `lanes` over `table`, which is scaled by its statistics unless there is a `scaler`."""
    scaler = scaler or Scaler.of(table, Scaling.standard)
    blocks = functools.partial(Blocks, table, scaler=scaler, block_rows=block_rows)
    train, holdout = blocks(part="train", overlap=SLICE_ROWS), blocks(part="holdout")
    return Scan(lanes, train, holdout, Encoding.of(table, Scaling.standard), **options)


def train(lanes: Sequence[Lane], table: Table, scaler: Scaler | None = None, **options: Any) -> list[History]:
    """Run one scan of `lanes` over `table`."""
    return finish(make_scan(lanes, table, scaler, **options), [History() for _ in lanes])


def finish(scan: Scan, found: list[History], state: State | None = None) -> list[History]:
    """Run a scan to its end, from a saved state if there is one; add its events to the histories, and return these."""
    if state is not None:
        scan.restore(state)
    for event in scan.run():
        note(found, event)
    return found


def finish_with_states(scan: Scan, found: list[History]) -> list[tuple[State, list[History]]]:
    """Run a scan to its end; return its state after each `Progress`, and a copy of the histories so far."""
    states = []
    for event in scan.run():
        note(found, event)
        if isinstance(event, Progress):
            states.append((scan.state(), copy.deepcopy(found)))
    return states


def note(found: Sequence[History], event: Event) -> None:
    """Add an event to the histories of all lanes."""
    if isinstance(event, EpochEnd):
        found[event.lane].epochs.append(event)
    elif isinstance(event, Stopped):
        found[event.lane].weights[event.epoch] = event.weights
    elif isinstance(event, Diverged):
        found[event.lane].diverged = event.update
    elif isinstance(event, Failed):
        found[event.lane].error = event.reason
