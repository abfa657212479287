"""What a scan reports while it trains: plain numbers and arrays, so that events can cross a process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EpochEnd:
    """A lane after an epoch.

    Attributes:
        lane: Its index.
        epoch: The epoch's number, from 1.
        updates: Taken so far.
        loss: Row-weighted mean over the epoch's updates of the loss before each.
        metrics: On the holdout after the epoch.
        train_seconds: The scan's training time so far, shared by all of its lanes.
        curve: Numbers (from 1, over all epochs) and losses of the epoch's updates, thinned for each of the stops.
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
    """A lane has reached one or more of its stops.

    Attributes:
        lane: Its index.
        epoch: Epochs trained so far.
        stops: The lane's stops that this event answers; `(epoch,)` unless a stopper ended the lane before its time.
        weights: In the order of `keras.Model.get_weights`.
    """

    lane: int
    epoch: int
    stops: tuple[int, ...]
    weights: list[np.ndarray]


@dataclass(frozen=True)
class Diverged:
    """A lane whose loss or weights are no longer finite; it emits no further events.

    Attributes:
        lane: Its index.
        update: The first such update, from 1, over all epochs.
    """

    lane: int
    update: int


@dataclass(frozen=True)
class Failed:
    """A lane whose model could not be built, or whose tile failed in training; it emits no further events.

    Attributes:
        lane: Its index.
        reason: The error's type and message.
    """

    lane: int
    reason: str

    @classmethod
    def of(cls, lane: int, error: Exception) -> Failed:
        """Return the event of a lane that `error` has ended."""
        return cls(lane, f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class Progress:
    """Rows trained on so far, over all epochs; here `Scan.state` is whole."""

    rows: int
    epoch: int


Event = EpochEnd | Stopped | Diverged | Failed | Progress
