"""Helpers that run scans and collect their events."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from harness.config import DataConfig, Loss
from harness.data.blocks import SLICE_ROWS, Blocks
from harness.data.scaler import Scaler
from harness.data.statistics import Column
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.models import linear
from harness.training.events import Diverged, EpochEnd, Event, Failed, Stopped
from harness.training.lane import Lane
from harness.training.lanes import Recipe
from harness.training.losses import LossPlan, make_objective
from harness.training.objective import Objective
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


def breaks_in_training(inputs: int) -> keras.Model:
    """Build a model that fails in training, but not before."""

    class Layer(keras.layers.Layer):
        def call(self, x, training=False):
            if training:
                raise RuntimeError("not in training")
            return x[:, :1]

    return keras.Sequential([keras.Input((inputs,)), Layer()])


def make_scan(
    lanes: Sequence[Lane], table: Table, scaler: Scaler, *, block_rows: int | None = None, **options: Any
) -> Scan:
    """Return a scan of `lanes` over `table`."""
    blocks = functools.partial(Blocks, table, scaler=scaler, block_rows=block_rows)
    return Scan(lanes, blocks(part="train", overlap=SLICE_ROWS), blocks(part="holdout"), **options)


def train(lanes: Sequence[Lane], table: Table, scaler: Scaler, **options: Any) -> list[History]:
    """Run one scan of `lanes` over `table`."""
    found = [History() for _ in lanes]
    for event in make_scan(lanes, table, scaler, **options).run():
        note(found, event)
    return found


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
