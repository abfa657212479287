"""Events that a scan emits while it trains: plain numbers and arrays, so that they can be sent between processes.

`lane` is a lane's index in its scan. Epochs and updates are counted from 1; updates are counted across epochs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class EpochEnd:
    """A lane has finished an epoch.

    Attributes:
        updates: Number of updates since the start of training.
        loss: Row-weighted mean, over the epoch's updates, of the loss before each update.
        metrics: Metrics on the holdout after the epoch.
        train_seconds: The scan's training time so far, shared by all of its lanes.
        curve: Update numbers and losses of the epoch, thinned separately for each stop.
    """

    lane: int
    epoch: int
    updates: int
    loss: float
    metrics: dict[str, float]
    train_seconds: float
    curve: tuple[np.ndarray, np.ndarray]

    def value(self, metric: str) -> float:
        """Return a metric of the epoch; NaN if it is missing or not finite."""
        return self.loss if metric == "train/loss" else self.metrics.get(metric, math.nan)


class Ending(Enum):
    """Why a lane stops."""

    reached = "reached"  # It has trained for the requested number of epochs.
    stopped = "stopped"  # It had stopped improving.
    pruned = "pruned"  # A search pruned it.


class Restored(NamedTuple):
    """The epoch whose weights a lane keeps instead of its last weights, and the metrics of that epoch."""

    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """A lane's metrics on the holdout within an epoch, after update number `updates`."""

    lane: int
    updates: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Stopped:
    """A lane has reached one of its stops, or a stopper has ended it.

    Attributes:
        stops: The stops that this event covers: `(epoch,)`, or all remaining ones if a stopper has ended the lane.
        weights: The weights, in the order of `keras.Model.get_weights`.
        ending: Why it stops.
        restored: The epoch to which the weights belong; None if the lane keeps its last weights.
        confusion: Number of holdout rows by class (rows) and predicted class (columns), if there are classes.
        test: Metrics on the test set, if there is one. A pruned lane has neither these nor a confusion matrix.
    """

    lane: int
    epoch: int
    stops: tuple[int, ...]
    weights: list[np.ndarray]
    ending: Ending = Ending.reached
    restored: Restored | None = None
    confusion: np.ndarray | None = None
    test: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Diverged:
    """A lane's loss or weights first became non-finite after `update`; the lane emits no further events."""

    lane: int
    update: int


@dataclass(frozen=True)
class Failed:
    """A lane's model could not be built, or its tile failed during training; the lane emits no further events."""

    lane: int
    reason: str

    @classmethod
    def of(cls, lane: int, error: Exception) -> Failed:
        """Return the event for a lane ended by `error`; the reason is the error's type and message."""
        return cls(lane, f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class OutOfMemory:
    """A device has run out of memory, and training continues with fewer calls at once, or smaller tiles.

    Attributes:
        lanes: The lanes whose tiles are smaller now; none if there are only fewer calls.
        sentence: What happened.
    """

    lanes: tuple[int, ...]
    sentence: str


@dataclass(frozen=True)
class Progress:
    """Rows trained on so far, over all epochs. `Scan.state` is complete only when this event is emitted."""

    rows: int
    epoch: int


Event = EpochEnd | Measured | Stopped | Diverged | Failed | OutOfMemory | Progress
