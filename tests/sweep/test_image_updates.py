"""A sweep on a folder of images, from the command to the logged models, agrees with a plain Keras loop."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from harness.data.shuffle import page_order
from harness.data.tables.table import Table, load_table
from harness.models import cnn
from tests.data.test_images import write_folder
from tests.reference import eager_keras
from tests.warm import Warm

SWEEP = ["train", "-m", "data=images", "data.path=photos", "model=cnn", "loss=sparse_categorical_crossentropy"]
SWEEP += ["tracking.log_model=all", "tracking.early_updates=false", "epochs=2"]


class Found(NamedTuple):
    """A run's losses by update, from 1, its weights as one vector, and its updates."""

    losses: dict[int, float]
    weights: np.ndarray
    updates: int


def table_in(folder: Path) -> Table:
    (table,) = [load_table(path.parent) for path in (folder / ".harness" / "tables").glob("*/table.json")]
    return table


def runs_in(folder: Path, rate: float) -> dict[str, Found]:
    """Return the runs of a sweep in `folder` that have this learning rate, by chunksize."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment: Any = client.get_experiment_by_name("harness")
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        if "chunksize" not in run.data.params or float(run.data.params["learning_rate"]) != rate:
            continue
        curve = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "train/chunk_loss")}
        (output,) = client.get_run(run.info.run_id).outputs.model_outputs
        location = client.get_logged_model(output.model_id).artifact_location.removeprefix("file://")
        model: Any = keras.models.load_model(Path(location) / "artifacts" / "model.keras", compile=False)
        found[run.data.params["chunksize"]] = Found(curve, joined(model.get_weights()), run.data.metrics["updates"])
    return found


def joined(weights: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([each.ravel() for each in weights]).astype(np.float64)


def first_weights(table: Table) -> list[np.ndarray]:
    keras.utils.set_random_seed(0)
    return cnn(table.features[0].shape, len(table.targets[0].categories)).get_weights()


def plain_loop(
    table: Table, chunk: int, rate: float, epochs: int, kind: str = "float32", rounding: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss before each update, and the weights at the end, computed in `kind`.

    If it is not 0, `rounding` is the seed of changes to the last bit of the inputs.
    """
    pixels, labels = table.read("train", 0, table.train_rows)
    wide = pixels.astype(np.float64)
    x = (wide - wide.mean((0, 1, 2))) / wide.std((0, 1, 2))
    if rounding:
        x *= 1 + np.random.default_rng(rounding).uniform(-1, 1, x.shape) * 2.0**-24
    x = x.astype(kind)
    start, before = first_weights(table), (keras.config.floatx(), keras.config.dtype_policy())
    epoch = itertools.count(1)

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        pages = np.split(np.arange(len(x)), range(table.page_rows, len(x), table.page_rows))
        order = page_order(len(pages), table.split_seed, next(epoch)) if len(pages) > 1 else [0]
        rows = np.concatenate([pages[page] for page in order])
        return (
            (x[rows[first : first + chunk]], labels[rows[first : first + chunk]]) for first in range(0, len(x), chunk)
        )

    keras.config.set_floatx(kind)
    keras.config.set_dtype_policy(kind)
    try:
        model = cnn(pixels.shape[1:], len(table.targets[0].categories))
        assert model.compute_dtype == kind
        model.set_weights(start)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        found = eager_keras(chunks, model, keras.optimizers.Adam(rate), loss, epochs)
        return np.array(found.losses), joined(model.get_weights())
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


@pytest.mark.slow
def test_a_sweep_agrees_with_a_plain_keras_loop(warm: Warm, tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"cat": 70, "dog": 80, "emu": 75})
    words = ["data.image_size=[16,16]", "chunksize=32,50,full", "learning_rate=0.001,0.003"]
    assert warm.run(tmp_path, *SWEEP, *words) == 0, (tmp_path / "log").read_text()[-3000:]
    table, runs = table_in(tmp_path), runs_in(tmp_path, 0.003)
    assert runs.keys() == {"32", "50", "full"}
    for chunk, run in runs.items():
        losses, weights = plain_loop(table, int(chunk) if chunk != "full" else table.train_rows, 0.003, epochs=2)
        assert run.updates == len(losses)
        np.testing.assert_allclose([*run.losses.values()], losses[np.array([*run.losses]) - 1], rtol=1e-3, atol=1e-6)
        # Compared together, because Adam's first steps turn the rounding of single gradients near 0 into full steps.
        assert np.linalg.norm(run.weights - weights) <= 1e-3 * np.linalg.norm(weights)


@pytest.mark.slow
def test_rounding_adds_up_as_it_does_in_keras(warm: Warm, tmp_path: Path) -> None:
    """After many updates, a run is no further from a float64 loop than Keras is, with inputs rounded either way.

    Adam turns the rounding of a gradient near 0 into a step of full length, so a single bit can decide.
    """
    write_folder(tmp_path / "photos", {"cat": 70, "dog": 80, "emu": 75})
    words = ["data.image_size=[16,16]", "chunksize=32,full", "learning_rate=0.003", "epochs=8"]
    assert warm.run(tmp_path, *SWEEP, *words) == 0, (tmp_path / "log").read_text()[-3000:]
    table = table_in(tmp_path)
    start = joined(first_weights(table))
    for chunk, run in runs_in(tmp_path, 0.003).items():
        rows = int(chunk) if chunk != "full" else table.train_rows
        losses, exact = plain_loop(table, rows, 0.003, 8, "float64")
        others = [plain_loop(table, rows, 0.003, 8, rounding=seed)[1] for seed in range(3)]
        ours, *theirs = (
            np.linalg.norm(each - exact) / np.linalg.norm(exact - start) for each in (run.weights, *others)
        )
        assert run.updates == len(losses)
        np.testing.assert_allclose([run.losses[step] for step in (1, 2, 3)], losses[:3], rtol=1e-5)
        assert ours <= 2 * max(theirs) + 1e-3, (chunk, ours, theirs)
