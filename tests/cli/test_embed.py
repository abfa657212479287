"""Images pass through a frozen model once; heads on its output are trained, logged, used and reproduced."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from harness.config import ImagesConfig, Order
from harness.data.images.backbone import build_backbone
from harness.data.tables.builder import open_table
from harness.data.tables.cache import list_tables, verify_table
from harness.data.tables.table import Table
from harness.errors import ConfigError
from harness.tracking.reader import RunReader
from tests.data.test_images import write_folder
from tests.warm import Warm

BUILD = "tests.cli.test_embed.build_backbone_of_images"
SHAPE = (8, 8, 3)


def build_backbone_of_images(inputs: tuple[int, ...], filters: int = 6) -> keras.Model:
    layers = keras.layers
    hidden = [layers.Rescaling(1 / 255), layers.Conv2D(filters, 3, strides=2, activation="relu")]
    return keras.Sequential(
        [keras.Input(inputs), *hidden, layers.BatchNormalization(), layers.Dropout(0.5), layers.GlobalMaxPooling2D()]
    )


def unpooled(inputs: tuple[int, ...]) -> keras.Model:
    return keras.Sequential([keras.Input(inputs), keras.layers.Conv2D(2, 3)])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "backbone.weights.h5"
    keras.utils.set_random_seed(1)
    build_backbone_of_images(SHAPE).save_weights(path)
    return path


def config(folder: Path, weights: Path, target: str = BUILD, **options: Any) -> ImagesConfig:
    embed = {"_target_": target, "weights": str(weights), **options}
    return ImagesConfig([8, 8], path=str(folder), embed=embed, order=Order.file, holdout=0.25)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pets", {"cat": 90, "dog": 70})


@pytest.fixture
def table(pets: Path, weights: Path, tmp_path: Path) -> Table:
    return open_table(config(pets, weights), tmp_path / "cache")


def test_a_table_has_what_the_frozen_model_returns(table: Table, pets: Path, weights: Path, tmp_path: Path) -> None:
    plain = open_table(ImagesConfig([8, 8], path=str(pets), order=Order.file, holdout=0.25), tmp_path / "cache")
    (pixels, labels), (values, same) = (each.read("train", 0, each.train_rows) for each in (plain, table))
    model = build_backbone_of_images(SHAPE)
    model.load_weights(weights)
    np.testing.assert_allclose(values, model(pixels, training=False), rtol=1e-5, atol=1e-6)
    assert np.array_equal(labels, same)
    (feature,) = table.features
    assert (feature.dtype, feature.shape) == ("float32", (6,))
    assert feature.channel_means == pytest.approx(values.mean(axis=0))
    assert feature.channel_stds == pytest.approx(values.std(axis=0), rel=1e-5)


def test_the_model_belongs_to_the_identity_of_the_table(
    table: Table, pets: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    assert open_table(config(pets, weights), cache).folder == table.folder
    (cached,) = list_tables(cache)
    assert (cached.state, verify_table(cached, lambda state: None)) == ("ready", "")
    moved = tmp_path / "moved.weights.h5"
    shutil.copy(weights, moved)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})
    again = open_table(config(pets, moved), cache)
    assert (again.folder != table.folder, again.digest) == (True, table.digest)
    keras.utils.set_random_seed(2)
    build_backbone_of_images(SHAPE).save_weights(moved)
    assert open_table(config(pets, moved), cache).digest != table.digest
    assert sorted(each.state for each in list_tables(cache)) == ["ready", "ready", "stale"]


@pytest.mark.parametrize(
    ("target", "options", "sentence"),
    [
        (BUILD, {"filters": 7}, "does not match tests.cli.test_embed.build_backbone_of_images (ValueError: "),
        (BUILD, {"units": 7}, "cannot be built (TypeError: "),
        ("tests.cli.test_embed.unpooled", {}, "returns (None, 6, 6, 2), not [images, values]. End it with a pooling"),
        ("tests.cli.test_embed.missing", {}, "data.embed._target_: cannot import 'tests.cli.test_embed.missing'"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused(
    target: str, options: dict, sentence: str, pets: Path, weights: Path, tmp_path: Path
) -> None:
    if target.endswith("unpooled"):
        weights = tmp_path / "other.weights.h5"
        unpooled(SHAPE).save_weights(weights)
    with pytest.raises(ConfigError) as caught:
        open_table(config(pets, weights, target, **options), tmp_path / "cache")
    assert sentence in str(caught.value)
    assert not [*(tmp_path / "cache" / "tables").glob("*")]


def test_an_application_gets_its_own_preprocessing_and_loads_nothing(tmp_path: Path) -> None:
    shape, path = (32, 32, 3), tmp_path / "mobile.weights.h5"
    plain = keras.applications.MobileNetV2(shape, alpha=0.35, include_top=False, pooling="avg", weights=None)
    plain.save_weights(path)
    model = build_backbone({"_target_": "keras.applications.MobileNetV2", "alpha": 0.35}, str(path), shape)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    np.testing.assert_allclose(model(pixels), plain(pixels / 127.5 - 1, training=False), rtol=1e-4, atol=1e-5)


def test_an_application_may_name_its_shape_anywhere_among_its_arguments(tmp_path: Path) -> None:
    shape, path = (32, 32, 3), tmp_path / "vgg.weights.h5"
    plain = keras.applications.VGG16(input_shape=shape, include_top=False, pooling="max", weights=None)
    plain.save_weights(path)
    model = build_backbone({"_target_": "keras.applications.VGG16", "pooling": "max"}, str(path), shape)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    prepared = pixels[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    np.testing.assert_allclose(model(pixels), plain(prepared, training=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"include_top": True, "classes": 10**9}, {"alpha": 10**6}], ids=["classes", "filters"]
)
def test_weights_that_do_not_fit_into_memory_are_not_allocated(options: dict[str, Any], weights: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data.embed: [\d,]+ weights need .*B of memory, but .* Use a smaller"):
        build_backbone({"_target_": "keras.applications.MobileNet", **options}, str(weights), (32, 32, 3))


@pytest.mark.slow
def test_heads_are_swept_used_and_reproduced(weights: Path, warm: Warm, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, colour in (("blue", (40, 40, 200)), ("green", (40, 200, 40)), ("red", (200, 40, 40))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(60):
            noise = rng.integers(-40, 41, (9, 11, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    words = ["data=images", "data.path=photos", "data.image_size=[8,8]", f"data.embed._target_={BUILD}"]
    words += [f"data.embed.weights={weights}", "model=linear", "loss=sparse_categorical_crossentropy"]
    sweep = ["--trust", "-m", *words, "chunksize=16,full", "learning_rate=0.05,0.1", "epochs=20"]
    assert warm.run(tmp_path, "train", *sweep) == 0, (tmp_path / "log").read_text()
    runs = RunReader(f"sqlite:///{tmp_path}/mlflow.db").load().runs
    best = runs.sort_values("val/loss").iloc[0]
    assert (len(runs), best["val/accuracy"]) == (4, pytest.approx(1, abs=0.1))

    assert warm.run(tmp_path, "predict", best["run_id"], "photos", "--output", "found.csv") == 0
    found = pd.read_csv(tmp_path / "found.csv")
    assert (found["class"] == found["path"].str.split("/").str[1]).mean() > 0.9
    assert warm.run(tmp_path, "reproduce", "--trust", best["run_id"]) == 0, (tmp_path / "log").read_text()[-2000:]
    assert "bit-identical" in (tmp_path / "log").read_text()
    assert warm.run(tmp_path, "reproduce", best["run_id"], log=tmp_path / "refused") == 2
    assert f"data.embed._target_: {BUILD} is not in harness, keras" in (tmp_path / "refused").read_text()

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (output,) = client.get_run(best["run_id"]).outputs.model_outputs
    location = client.get_logged_model(output.model_id).artifact_location
    code = (
        "import sys, mlflow, numpy as np\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "pixels = np.zeros((2, 8, 8, 3), np.uint8)\n"
        "pixels[0, ..., 0], pixels[1, ..., 2] = 200, 200\n"
        "print(*model.predict({'image': pixels}).idxmax(axis=1), 'harness' in sys.modules)\n"
    )
    command = [sys.executable, "-I", "-W", "ignore", "-c", code, location]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120, check=False)
    assert done.stdout.splitlines()[-1:] == ["red blue False"], done.stderr
