"""What a scan reports while it trains: plain numbers and arrays, so that events can cross a process.

`lane` is a lane's index in its scan; epochs and updates are counted from 1, updates over all epochs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EpochEnd:
    """A lane has finished an epoch.

    Attributes:
        updates: Since the start of training.
        loss: Row-weighted mean over the epoch's updates of the loss before each update.
        metrics: On the holdout after the epoch.
        train_seconds: The scan's training time so far, shared by all of its lanes.
        curve: Numbers and losses of the epoch's updates, thinned for each of the stops.
    """

    lane: int
    epoch: int
    updates: int
    loss: float
    metrics: dict[str, float]
    train_seconds: float
    curve: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Stopped:
    """A lane has reached one of its stops, or a stopper has ended it.

    Attributes:
        stops: The stops that this event answers: `(epoch,)`, or all remaining ones if a stopper has ended the lane.
        weights: In the order of `keras.Model.get_weights`.
    """

    lane: int
    epoch: int
    stops: tuple[int, ...]
    weights: list[np.ndarray]


@dataclass(frozen=True)
class Diverged:
    """A lane's loss or weights are not finite, first after `update`; it emits no further events."""

    lane: int
    update: int


@dataclass(frozen=True)
class Failed:
    """A lane's model could not be built, or its tile failed in training; it emits no further events."""

    lane: int
    reason: str

    @classmethod
    def of(cls, lane: int, error: Exception) -> Failed:
        """Return the event for a lane ended by `error`; the reason is the error's type and message."""
        return cls(lane, f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class Progress:
    """Rows trained on so far, over all epochs. Only here is `Scan.state` complete."""

    rows: int
    epoch: int


Event = EpochEnd | Stopped | Diverged | Failed | Progress
