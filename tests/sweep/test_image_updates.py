"""A sweep on a folder of images, from the command to the logged models, agrees with a plain Keras loop."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def check_updates(folder: Path, chunks: tuple[int | str, ...], rate: float) -> None:
    """Compare the runs of a sweep in `folder` that have this rate, one for each of `chunks`, with plain loops."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (table,) = [load_table(path.parent) for path in (folder / ".harness" / "tables").glob("*/table.json")]
    experiment: Any = client.get_experiment_by_name("harness")
    runs = {
        (run.data.params["chunksize"], float(run.data.params["learning_rate"])): run
        for run in client.search_runs([experiment.experiment_id])
        if "chunksize" in run.data.params
    }
    for chunk in chunks:
        run = runs[str(chunk), rate]
        losses, weights = plain_loop(table, int(chunk) if chunk != "full" else table.train_rows, rate, epochs=2)
        curve = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "train/chunk_loss")}
        assert run.data.metrics["updates"] == len(losses)
        np.testing.assert_allclose([*curve.values()], [losses[step - 1] for step in curve], rtol=1e-3, atol=1e-6)
        (output,) = client.get_run(run.info.run_id).outputs.model_outputs
        location = client.get_logged_model(output.model_id).artifact_location.removeprefix("file://")
        model: Any = keras.models.load_model(Path(location) / "artifacts" / "model.keras", compile=False)
        # Together: Adam's first steps turn the rounding of single gradients near 0 into steps of full length.
        found, expected = (np.concatenate([each.ravel() for each in both]) for both in (model.get_weights(), weights))
        assert np.linalg.norm(found - expected) <= 1e-3 * np.linalg.norm(expected)


def plain_loop(table: Table, chunk: int, rate: float, epochs: int) -> tuple[list[float], list[np.ndarray]]:
    pixels, labels = table.read("train", 0, table.train_rows)
    wide = pixels.astype(np.float64)
    x = ((wide - wide.mean((0, 1, 2))) / wide.std((0, 1, 2))).astype(np.float32)
    keras.utils.set_random_seed(0)
    model = cnn(pixels.shape[1:], len(table.targets[0].categories))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    epoch = itertools.count(1)

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        pages = np.split(np.arange(len(x)), range(table.page_rows, len(x), table.page_rows))
        order = page_order(len(pages), table.split_seed, next(epoch)) if len(pages) > 1 else [0]
        rows = np.concatenate([pages[page] for page in order])
        return (
            (x[rows[start : start + chunk]], labels[rows[start : start + chunk]]) for start in range(0, len(x), chunk)
        )

    found = eager_keras(chunks, model, keras.optimizers.Adam(rate), loss, epochs)
    return found.losses, model.get_weights()


@pytest.mark.slow
def test_a_sweep_agrees_with_a_plain_keras_loop(warm: Warm, tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"cat": 70, "dog": 80, "emu": 75})
    words = ["data.image_size=[16,16]", "chunksize=32,50,full", "learning_rate=0.001,0.003"]
    assert warm.run(tmp_path, *SWEEP, *words) == 0, (tmp_path / "log").read_text()[-3000:]
    check_updates(tmp_path, (32, 50, "full"), 0.003)
