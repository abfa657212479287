"""Every loss has an objective that agrees with what other packages assume about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.config import Loss
from harness.config.metrics import (
    BINARY,
    REGRESSION,
    class_metrics,
    comparable_metric,
    deciding_metric,
    epoch_metrics,
    greater_is_better,
    predicts_probability,
)
from harness.data.statistics import Column
from harness.errors import ConfigError
from harness.training.losses import LOSSES, LossPlan, make_objective
from tests.helpers import objective
from tests.tables import table_without_files

NUMBER = Column("y", False, 1, mean=0, std=1, min=0, max=1)
CLASSES = {
    size: replace(NUMBER, dtype="int32", categories=tuple(f"c{index:04}" for index in range(size)))
    for size in (3, 7, 300)
}


def test_every_loss_has_an_objective() -> None:
    assert set(LOSSES) == set(Loss)


@pytest.mark.parametrize(
    ("loss", "target", "expected"),
    [
        (Loss.mse, NUMBER, REGRESSION),
        (Loss.binary_crossentropy, NUMBER, BINARY),
        *((Loss.sparse_categorical_crossentropy, column, class_metrics(size)) for size, column in CLASSES.items()),
    ],
)
def test_names_of_metrics_agree(loss: Loss, target: Column, expected: tuple[str, ...]) -> None:
    found = objective(loss, table_without_files((NUMBER, target), 1))
    sums = [value.numpy() + 1 for value in found.start(tile=2)]
    assert tuple(found.measure(sums, rows=1.0, lane=1)) == found.metrics == expected
    assert found.outputs == (len(target.categories) or 1)
    assert predicts_probability(loss) == predicts_probability(loss.value) == (expected == BINARY)
    assert epoch_metrics(reversed(["train/loss", "val/loss", "updates", *expected]))[:2] == ["train/loss", "val/loss"]


def test_several_targets_have_a_metric_each_and_their_mean_r2() -> None:
    table = table_without_files((NUMBER, NUMBER), 1)
    table = replace(table, targets=(replace(NUMBER, name="a/b"), replace(NUMBER, name="c")))
    found = objective(Loss.mse, table)
    assert found.metrics == (
        *("val/rmse/a:x2f:b", "val/mae/a:x2f:b", "val/r2/a:x2f:b", "val/rmse/c", "val/mae/c", "val/r2/c", "val/r2"),
    )
    sums = [np.array([4.0]), np.array([6.0]), np.array(0.0), np.array(8.0), np.array([9.0]), np.array([9.0]), 0.0, 12.0]
    values = found.measure(sums, rows=4.0, lane=0)
    assert [*values.values()] == [1.0, 1.5, 0.5, 1.5, 2.25, 0.25, 0.375]
    assert (comparable_metric(found.metrics), comparable_metric(REGRESSION)) == ("val/r2", "val/rmse")
    assert not found.has_gram


def test_weights_and_matrices_exclude_each_other() -> None:
    table = table_without_files((NUMBER, NUMBER), 1)
    assert objective(Loss.mse, table).has_gram
    assert not objective(Loss.mse, replace(table, weights=(NUMBER,))).has_gram
    weighted = make_objective(
        LossPlan("binary_crossentropy", class_weights=(0.5, 3.0)), replace(table, weights=(NUMBER,))
    )
    y = np.array([[1, 2], [0, 4]], np.float32)
    assert weighted.row_weights(y).numpy().tolist() == [6, 2]


def test_labels_are_checked_and_numbers_are_not() -> None:
    values = np.array([0, 1, 0.5, 2], np.float32)
    with pytest.raises(ConfigError, match=r"needs labels 0 and 1, but sold contains 0\.5"):
        objective(Loss.binary_crossentropy).check_targets("sold", values)
    objective(Loss.binary_crossentropy).check_targets("sold", values[:2])
    objective(Loss.mse).check_targets("price", values)


def test_the_deciding_metric_is_a_loss_unless_another_one_is_chosen() -> None:
    assert [deciding_metric(held_out=held_out) for held_out in (True, False)] == ["val/loss", "train/loss"]
    assert deciding_metric("val/accuracy", held_out=True) == "val/accuracy"
    assert [greater_is_better(metric) for metric in ("val/loss", "val/rmse/a", "val/r2", "val/r2/a")] == [0, 0, 1, 1]
