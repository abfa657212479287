"""Every command on a sweep over images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from harness.tracking.reader import RunReader
from tests.warm import Warm

pytestmark = pytest.mark.slow
WORDS = ["experiment=digits", "chunksize=50,full", "learning_rate=0.003", "epochs=12"]


@pytest.fixture(scope="module")
def trained(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    assert warm.run(folder, "train", "-m", *WORDS) == 0, (folder / "log").read_text()
    return folder


@pytest.fixture(scope="module")
def best(trained: Path) -> Any:
    runs = RunReader(f"sqlite:///{trained}/mlflow.db").load().runs
    return runs.sort_values("val/loss").iloc[0]


@pytest.fixture(scope="module")
def pictures(trained: Path) -> Path:
    folder = trained / "pictures"
    (source,) = (trained / ".harness" / "digits").glob("*.parquet")
    for number, row in enumerate(pq.read_table(source).slice(0, 100).to_pylist()):
        path = folder / str(row["label"]) / f"{number:03}.PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["image"]["bytes"])
    return folder


def test_digits_are_recognized(best: Any) -> None:
    assert (best["val/accuracy"], best["sample"]) == (pytest.approx(1, abs=0.05), "batch")


def test_the_report_shows_classes_and_mistakes(trained: Path, warm: Warm) -> None:
    assert warm.run(trained, "report", "--output", "page") == 0
    page = (trained / "page" / "report.html").read_text()
    assert "<h2>Classes</h2>" in page
    assert 0 < page.count("predicted as") <= 24


def test_a_folder_is_trained_on(trained: Path, pictures: Path, warm: Warm) -> None:
    words = ["data=images", f"data.path={pictures}", "data.image_size=[8,8]", "data.channels=1", "data.holdout=0.1"]
    words += ["model=linear", "loss=sparse_categorical_crossentropy", "epochs=1", "tracking.uri=sqlite:///folder.db"]
    assert warm.run(trained, "train", *words, log=trained / "folder.log") == 0, (trained / "folder.log").read_text()
    assert "harness predict" in (trained / "folder.log").read_text()
    assert "FOLDER" in (trained / "folder.log").read_text()


def test_predict_reads_folders(trained: Path, best: Any, pictures: Path, warm: Warm) -> None:
    assert warm.run(trained, "predict", best["run_id"], "pictures", "--output", "found.csv") == 0
    found = pd.read_csv(trained / "found.csv", dtype={"class": str})
    assert found["path"].tolist() == sorted(
        f"pictures/{path.parent.name}/{path.name}" for path in pictures.rglob("*.PNG")
    )
    assert (found["class"] == found["path"].str.split("/").str[1]).mean() > 0.95
    assert found["probability"].between(0.1, 1).all()
    (trained / "damaged").mkdir()
    (trained / "damaged" / "x.png").write_bytes(b"")
    assert warm.run(trained, "predict", best["run_id"], "damaged", log=trained / "errors") == 2
    assert (trained / "errors").read_text() == "harness: damaged/x.png is empty. Fix or remove it.\n"


def test_the_logged_model_takes_pixels_and_names_its_classes(trained: Path, best: Any, pictures: Path) -> None:
    client = MlflowClient(f"sqlite:///{trained}/mlflow.db")
    (output,) = client.get_run(best["run_id"]).outputs.model_outputs
    location = client.get_logged_model(output.model_id).artifact_location
    model = mlflow.pyfunc.load_model(location)
    digits = [str(digit) for digit in range(10)]
    expected = {"classes": digits, "image": {"size": [8, 8], "channels": 1, "fit": "crop"}}
    assert model.metadata.metadata == expected
    paths = sorted(pictures.rglob("*.PNG"))
    pixels = np.stack([np.asarray(Image.open(path))[..., None] for path in paths])
    found = model.predict({"image": pixels})
    assert list(found) == digits
    assert np.allclose(found.sum(axis=1), 1)
    assert (found.idxmax(axis=1) == [path.parent.name for path in paths]).mean() > 0.95


def test_a_run_on_images_is_reproduced(trained: Path, best: Any, warm: Warm) -> None:
    assert warm.run(trained, "reproduce", best["run_id"]) == 0, (trained / "log").read_text()[-2000:]


def test_a_folder_elsewhere_has_to_be_the_recorded_one(trained: Path, pictures: Path, warm: Warm) -> None:
    words = ["data=images", "data.path=pictures", "data.image_size=[8,8]", "data.channels=1", "model=mlp", "epochs=2"]
    words += ["loss=sparse_categorical_crossentropy", "data.holdout_path=pictures", "tracking.experiment=folders"]
    assert warm.run(trained, "train", *words) == 0
    client = MlflowClient(f"sqlite:///{trained}/mlflow.db")
    experiment: Any = client.get_experiment_by_name("folders")
    (run,) = client.search_runs([experiment.experiment_id])
    pictures.rename(trained / "moved")
    assert warm.run(trained, "reproduce", run.info.run_id, log=trained / "gone") == 2
    assert "no such file or folder" in (trained / "gone").read_text()
    assert warm.run(trained, "reproduce", run.info.run_id, "--data", "moved", "--data", "moved") == 0
