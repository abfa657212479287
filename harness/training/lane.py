"""The trainer's view of a run."""

from __future__ import annotations

from dataclasses import dataclass

from harness.training.lanes import Recipe


@dataclass(frozen=True)
class Lane:
    """A run in the trainer; lanes with the same chunk and recipe form a cohort.

    Attributes:
        chunk: Rows per update, at most the number of training rows.
        seed: Seed of the initial weights and of the layers' random number generators.
        stops: Epochs after which a result is requested, in ascending order; the lane trains until the last one.
        restore: If set, the lane keeps the weights of the best epoch by this metric; None keeps those of the last
            epoch.
    """

    chunk: int
    recipe: Recipe
    seed: int
    learning_rate: float
    stops: tuple[int, ...]
    restore: str | None = None
