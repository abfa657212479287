"""The holdout's metrics equal those of NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from harness.config import DataConfig, Loss, Scaling
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.training.classification import area_under_roc
from tests.helpers import lane, recipe, train
from tests.tables import rows


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(2)
    size = rng.lognormal(7.5, 0.4, 7001)
    price = np.exp(6 + 0.9 * np.log(size) + rng.normal(0, 0.3, 7001))
    return pd.DataFrame({"size": size.round(3), "price": price.round(3), "dear": (price > 5e5).astype(int)})


@pytest.mark.parametrize(
    ("scaling", "logs", "block_rows"),
    [
        (Scaling.none, [], None),
        (Scaling.standard, ["price"], None),
        (Scaling.none, ["price"], 1024),
        (Scaling.standard, ["size", "price"], 1024),
    ],
)
def test_errors_are_in_the_targets_own_units(frame, tmp_path, scaling, logs, block_rows):
    frame.to_csv(tmp_path / "some.csv", index=False)
    data = DataConfig(["size"], "price", str(tmp_path / "some.csv"), log_columns=logs, scaling=scaling)
    table = open_table(data, tmp_path)
    scaler = Scaler.of(table, scaling)
    history = train([lane(1000, rate=0.1, stops=(1,))], table, scaler, block_rows=block_rows)[0]
    intercept, slopes = scaler.coefficients(*history.weights[1])

    x, y = rows(table, "holdout").T.astype(float)
    predicted = intercept[0] + slopes[0, 0] * x
    trained_space = np.mean(((predicted - y) / scaler.std[-1]) ** 2)
    if "price" in logs:
        predicted, y = np.exp(predicted), np.exp(y)
    expected = {
        "val/loss": trained_space,
        "val/rmse": np.sqrt(np.mean((predicted - y) ** 2)),
        "val/mae": mean_absolute_error(y, predicted),
        "val/r2": r2_score(y, predicted),
    }
    metrics = history.epochs[0].metrics
    assert list(metrics) == list(expected)
    np.testing.assert_allclose(list(metrics.values()), list(expected.values()), rtol=1e-4)


def test_a_holdout_whose_target_does_not_vary_has_no_r2(frame, tmp_path):
    def data(name):
        frame.to_csv(tmp_path / name, index=False)
        return DataConfig(["size"], "price", str(tmp_path / name))

    held_out = rows(open_table(data("some.csv"), tmp_path), "holdout")[:, 0]
    frame["price"] = frame["price"].where(~frame["size"].astype("float32").isin(held_out), 1234.567)
    table = open_table(data("constant.csv"), tmp_path)
    assert table.holdout_rows
    metrics = train([lane(1000, stops=(1,))], table)[0].epochs[0].metrics
    assert list(metrics) == ["val/loss", "val/rmse", "val/mae"]
    assert np.isfinite(list(metrics.values())).all()


def test_labels_have_accuracy_and_auc(frame, tmp_path):
    frame.to_csv(tmp_path / "some.csv", index=False)
    data = DataConfig(["size"], "dear", str(tmp_path / "some.csv"))
    table = open_table(data, tmp_path)
    scaler = Scaler.of(table, data.scaling, scale_target=False)
    labels = recipe(loss=Loss.binary_crossentropy)
    lanes = [lane(100, rate=rate, stops=(1,), recipe_=labels) for rate in (0.001, 0.1)]
    for history in train(lanes, table, scaler):
        kernel, bias = history.weights[1]
        x, y = scaler.apply(table.read("holdout", 0, table.holdout_rows))
        chance = 1 / (1 + np.exp(-(x * kernel[0, 0] + bias[0]).astype(float)))
        metrics = history.epochs[0].metrics
        assert list(metrics) == ["val/loss", "val/accuracy", "val/auc"]
        assert metrics["val/accuracy"] == accuracy_score(y, chance > 0.5)
        assert metrics["val/auc"] == pytest.approx(roc_auc_score(y, chance), abs=1e-3)
        assert metrics["val/loss"] == pytest.approx(log_loss(y, chance), rel=1e-5)


def test_area_under_roc():
    assert area_under_roc(np.array([2.0, 0.0]), np.array([0.0, 3.0])) == 1
    assert area_under_roc(np.array([0.0, 2.0]), np.array([3.0, 0.0])) == 0
    assert area_under_roc(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.5
    assert np.isnan(area_under_roc(np.array([1.0, 1.0]), np.array([0.0, 0.0])))


def test_no_holdout_no_metrics(frame, tmp_path):
    frame.to_csv(tmp_path / "some.csv", index=False)
    data = DataConfig(["size"], "price", str(tmp_path / "some.csv"), holdout=0.0)
    table = open_table(data, tmp_path)
    assert train([lane(100)], table, Scaler.of(table, data.scaling))[0].epochs[0].metrics == {}
