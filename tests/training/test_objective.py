"""Every loss has an objective that agrees with the facts other rooms use."""

from __future__ import annotations

import numpy as np
import pytest

from harness.config import Loss
from harness.config.metrics import BINARY, REGRESSION, deciding_metric, greater_is_better, predicts_probability
from harness.errors import ConfigError
from harness.training.objective import OBJECTIVES


def test_every_loss_has_an_objective() -> None:
    assert set(OBJECTIVES) == set(Loss)


@pytest.mark.parametrize("loss", Loss)
def test_names_of_metrics_agree(loss: Loss) -> None:
    objective = OBJECTIVES[loss]
    sums = [value.numpy() for value in objective.start(tile=2)]
    expected = BINARY if predicts_probability(loss) else REGRESSION
    assert tuple(objective.measure(sums, rows=1.0, lane=1)) == objective.metrics == expected
    assert objective.has_labels == predicts_probability(loss) == predicts_probability(loss.value)


def test_labels_are_checked_and_numbers_are_not() -> None:
    values = np.array([0, 1, 0.5, 2], np.float32)
    with pytest.raises(ConfigError, match=r"needs labels 0 and 1, but sold contains 0\.5"):
        OBJECTIVES[Loss.binary_crossentropy].check_targets("sold", values)
    OBJECTIVES[Loss.binary_crossentropy].check_targets("sold", values[:2])
    OBJECTIVES[Loss.mse].check_targets("price", values)


def test_the_deciding_metric_is_a_loss() -> None:
    assert [deciding_metric(held_out=held_out) for held_out in (True, False)] == ["val/loss", "train/loss"]
    assert not greater_is_better("val/loss")
    assert greater_is_better("val/r2")
