"""With classes, several targets and weights, updates equal those of a plain loop with Keras's own losses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, top_k_accuracy_score

from harness.config import DataConfig, Loss, Scaling
from harness.data.classes import class_weights
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.models import linear, mlp
from harness.training.encoding import Encoding
from harness.training.events import Stopped
from harness.training.lane import Lane
from harness.training.lanes import Recipe, Stack
from harness.training.losses import LossPlan, make_objective
from harness.training.metrics import Evaluation
from tests.helpers import History, finish, make_scan, note, train
from tests.tables import stored

CLASSES = Loss.sparse_categorical_crossentropy.value
KINDS = ["oak", "ash", "elm", "fir", "yew", "box", "bay"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """2,603 rows with about 2,080 training rows: two slices and a remainder."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(2603, 3)), columns=["a", "b", "c"])
    scores = frame.to_numpy() @ rng.normal(size=(3, len(KINDS))) + rng.gumbel(size=(2603, len(KINDS)))
    frame["kind"] = np.array(KINDS)[scores.argmax(axis=1)]
    frame["spam"] = (scores[:, 0] > 1).astype(int)
    frame["y"] = frame["a"] * 3 - frame["b"] + rng.normal(size=2603)
    frame["z"] = np.exp(frame["c"] / 2 + rng.normal(0, 0.1, 2603)) * 1000
    frame["w"] = rng.integers(0, 4, 2603) * 50.0
    frame.to_csv(folder / "some.csv", index=False)

    def make(target: Any, **settings: Any) -> Table:
        if target == "kind":
            settings = {"categorical": ["kind"], **settings}
        return open_table(DataConfig(["a", "b", "c"], target, str(folder / "some.csv"), **settings), folder)

    return make


def lanes_of(
    table: Table, plan: LossPlan, chunks: list[int], build: Any = mlp, rates: tuple[float, ...] = (0.01,)
) -> list[Lane]:
    found = make_objective(plan, table)
    recipe = Recipe(repr([build, plan]), lambda inputs: build(inputs, found.outputs), {"name": "adam"}, found)
    return [Lane(chunk, recipe, 0, rate, (2,)) for chunk in chunks for rate in rates]


def scaler_of(table: Table, plan: LossPlan) -> Scaler:
    return Scaler.of(table, Scaling.standard, scale_target=not Loss(plan.name).has_labels)


def plain_loop(table: Table, plan: LossPlan, loss: Any, chunk: int, build: Any = mlp) -> tuple[list, list]:
    """Train two epochs chunk by chunk with one of Keras's losses and sample weights, without the harness."""
    scaler, outputs = scaler_of(table, plan), make_objective(plan, table).outputs
    values = scaler.apply(table.read("train", 0, table.train_rows)).T
    x, y = values[:, :3], values[:, 3 : 3 + len(table.targets)]
    weights = np.ones(len(x), np.float32)
    if table.weights:
        raw = stored(table)[:, -1]
        weights = raw / raw.mean()
    if plan.class_weights:
        weights = weights * np.array(plan.class_weights, np.float32)[y[:, 0].astype(int)]
    keras.utils.set_random_seed(0)
    model, optimizer = build(3, outputs), keras.optimizers.Adam(0.01)
    losses = []
    for _ in range(2):
        for start in range(0, len(x), chunk):
            some = slice(start, start + chunk)
            with tf.GradientTape() as tape:
                mean = loss(y[some], model(x[some], training=True), sample_weight=weights[some])
            optimizer.apply(tape.gradient(mean, model.trainable_variables), model.trainable_variables)
            losses.append(float(mean))
    return losses, model.get_weights()


def test_a_holdout_without_weight_has_no_loss(source: Any) -> None:
    table = source("spam", class_weight={"1": 0})
    plan = LossPlan("binary_crossentropy", class_weights=(1.0, 0.0))
    stack = Stack(lanes_of(table, plan, [1000], linear)[0].recipe, Encoding((0, 0, 0)))
    evaluation = Evaluation(stack, scaler_of(table, plan), 1)
    counted = evaluation.start()._replace(rows=tf.constant(3.0, tf.float64))
    assert "val/loss" not in evaluation.metrics(counted)[0]
    assert evaluation.metrics(counted._replace(weight=tf.constant(2.0, tf.float64)))[0]["val/loss"] == 0


def smoothed(truth: Any, outputs: Any, sample_weight: Any) -> Any:
    one_hot = np.eye(len(KINDS), dtype=np.float32)[truth[:, 0].astype(int)]
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(one_hot, outputs, sample_weight)


CASES: dict[str, tuple[Any, dict[str, Any], LossPlan, Any]] = {
    "classes": ("kind", {}, LossPlan(CLASSES), keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
    "smoothed, weighted classes": (
        *("kind", {"weight": "w", "class_weight": "balanced"}),
        *(LossPlan(CLASSES, label_smoothing=0.1), smoothed),
    ),
    "two targets": (["y", "z"], {"log_columns": ["z"]}, LossPlan("mse"), keras.losses.MeanSquaredError()),
    "weighted huber": ("y", {"weight": "w"}, LossPlan("huber", delta=0.3), keras.losses.Huber(0.3)),
    "weighted labels": (
        *("spam", {"weight": "w", "class_weight": {"1": 5}}, LossPlan("binary_crossentropy", label_smoothing=0.2)),
        keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2),
    ),
}


@pytest.mark.parametrize(
    "case",
    [
        "smoothed, weighted classes",
        *(pytest.param(case, marks=pytest.mark.slow) for case in CASES if "smoo" not in case),
    ],
)
def test_equals_a_plain_loop(source, case: str) -> None:
    """Chunks of one slice, longer ones, and the full sample."""
    target, settings, plan, loss = CASES[case]
    table = source(target, **settings)
    plan = replace(plan, class_weights=tuple(class_weights(table, settings.get("class_weight"))))
    chunks = [100, table.train_rows]
    lanes = lanes_of(table, plan, chunks)
    found = train(lanes, table, scaler_of(table, plan))
    for chunk, history in zip(chunks, found, strict=True):
        losses, weights = plain_loop(table, plan, loss, chunk)
        np.testing.assert_allclose(list(history.curve.values()), losses, rtol=3e-4)
        for value, expected in zip(history.weights[2], weights, strict=True):
            np.testing.assert_allclose(value, expected, rtol=2e-3, atol=2e-4)
    whole = found[-1].curve
    mean = found[-1].epochs[0].loss
    assert mean == pytest.approx(whole[1], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["smoothed, weighted classes", "two targets"])
def test_results_depend_neither_on_companions_nor_on_an_interruption(source, case: str) -> None:
    target, settings, plan, _ = CASES[case]
    table = source(target, **settings)
    plan = replace(plan, class_weights=tuple(class_weights(table, settings.get("class_weight"))))
    lanes = lanes_of(table, plan, [100, table.train_rows], build=linear, rates=(0.01, 1e9))
    scaler = scaler_of(table, plan)
    together = train(lanes, table, scaler)
    for index in (0, 2):
        (alone,) = train([lanes[index]], table, scaler, block_rows=1024)
        assert together[index].numbers == alone.numbers
    first = make_scan(lanes, table, scaler, block_rows=1024)
    events = first.run()
    histories = [History() for _ in lanes]
    state: Any = None
    for event in events:
        note(histories, event)
        if type(event).__name__ == "Progress" and event.rows > table.train_rows + 1024:
            state = first.state()
            break
    finish(make_scan(lanes, table, scaler, block_rows=1024), histories, state)
    assert [history.numbers for history in histories] == [history.numbers for history in together]


def test_metrics_of_classes_are_those_of_scikit_learn(source) -> None:
    table = source("kind")
    plan = LossPlan(CLASSES)
    scaler = scaler_of(table, plan)
    scan = make_scan(lanes_of(table, plan, [100], build=linear), table, scaler)
    history, ended = History(), None
    for event in scan.run():
        note([history], event)
        ended = event if isinstance(event, Stopped) else ended
    assert ended is not None
    kernel, bias = ended.weights
    values = scaler.apply(table.read("holdout", 0, table.holdout_rows)).T
    outputs, truth = values[:, :3] @ kernel + bias, values[:, 3].astype(int)
    predicted = outputs.argmax(axis=1)
    expected = {
        "val/accuracy": (predicted == truth).mean(),
        "val/balanced_accuracy": balanced_accuracy_score(truth, predicted),
        "val/macro_f1": f1_score(truth, predicted, average="macro"),
        "val/top5_accuracy": top_k_accuracy_score(truth, outputs, k=5),
    }
    found = history.epochs[-1].metrics
    assert [*found] == ["val/loss", *expected]
    assert [found[key] for key in expected] == pytest.approx([*expected.values()], rel=1e-12)
    np.testing.assert_array_equal(ended.confusion, confusion_matrix(truth, predicted))
    assert [str(name) for name in table.targets[0].categories] == sorted(KINDS)
