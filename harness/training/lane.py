"""A run from the trainer's point of view."""

from __future__ import annotations

from dataclasses import dataclass

from harness.training.lanes import Recipe


@dataclass(frozen=True)
class Lane:
    """One run from the trainer's point of view; lanes with the same chunk and recipe form a cohort.

    Attributes:
        chunk: Rows per update, at most the number of training rows.
        seed: Seed of the initial weights and of the layers' random number generators.
        stops: Epochs after which a result is wanted, in ascending order; the lane trains until the last.
        restore: Metric of whose best epoch the lane keeps the weights; None keeps those of the last epoch.
    """

    chunk: int
    recipe: Recipe
    seed: int
    learning_rate: float
    stops: tuple[int, ...]
    restore: str | None = None
