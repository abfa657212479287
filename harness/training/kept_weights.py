"""Evaluates the weights that a lane keeps, if the evaluation of its last epoch did not.

The weights may be those of an earlier epoch, or a stopper may have ended the lane after that evaluation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from harness.config.metrics import TEST, VAL
from harness.training.events import Stopped
from harness.training.lanes import LaneState, Stack
from harness.training.metrics import Evaluation, Sums
from harness.training.slices import DeviceBlock

ReadPart = Callable[[], Iterable[DeviceBlock]]
"""Reads all blocks of a part."""


def measure_kept(
    event: Stopped, stack: Stack, evaluation: Evaluation, lanes: LaneState, holdout: ReadPart, test: ReadPart | None
) -> Stopped:
    """Return an event with its confusion matrix and test metrics added, if it lacks them and there are any.

    Args:
        event: The event of a lane.
        stack: The lane's stack.
        evaluation: The evaluation of the lane's tile.
        lanes: The state of the tile, used for its shapes.
        holdout: Reads the holdout.
        test: Reads the test set; None if there is none.
    """
    needs_confusion = event.confusion is None and stack.objective.counts_classes
    needs_test = test is not None and not event.test
    if not (needs_confusion or needs_test):
        return event
    state = stack.with_weights(lanes, event.weights)

    def sums(read: ReadPart) -> Sums:
        return functools.reduce(lambda found, block: evaluation.add(found, state, block), read(), evaluation.start())

    if needs_confusion:
        event = replace(event, confusion=evaluation.confusion(sums(holdout), 0))
    if test is not None and needs_test:
        event = replace(event, test=of_test(evaluation.metrics(sums(test))[0]))
    return event


def of_test(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics with the names of test metrics."""
    return {key.replace(VAL, TEST, 1): value for key, value in metrics.items()}
