"""Images as tables: what is decoded, how it is split, and that the result does not depend on order or chance."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.config import Fit, ImagesConfig, LabelType, Order, Scaling
from harness.config.objective import CLASSES_LOSS
from harness.data.images.decode import decode, quiet
from harness.data.images.parquet import ImageParquet
from harness.data.profiling.first_rows import check_first_rows
from harness.data.tables.builder import open_table
from harness.data.tables.cache import list_tables, verify_table
from harness.data.tables.table import Table, load_table
from harness.errors import ConfigError
from tests.runtime.test_prefetch import wait_for

SHAPE = (4, 6, 3)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def picture(seed: int, size: tuple[int, int] = (12, 8)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values)


def write_folder(root: Path, counts: dict[str, int]) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            (root / name / f"{index}.png").write_bytes(encoded(picture(100 * number + index)))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pets", {"cat": 20, "dog": 30})


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Table]:
    def run(path: Path | None, size: list[int] | None = None, cache: str = "cache", **options: Any) -> Table:
        data = ImagesConfig(size or [4, 6], path=None if path is None else str(path), **options)
        return open_table(data, tmp_path / cache)

    return run


def test_a_folder_becomes_a_table_of_pixels_and_labels(folder: Path, make) -> None:
    table = make(folder, order=Order.file, holdout=0.0)
    pixels, labels = table.read("train", 0, 50)
    expected = [
        np.asarray(Image.open(folder / name / f"{index}.png").resize((6, 4), Image.Resampling.BILINEAR))
        for name, count in (("cat", 20), ("dog", 30))
        for index in sorted(range(count), key=str)
    ]
    assert np.array_equal(pixels, np.stack(expected))
    assert labels.tolist() == [0] * 20 + [1] * 30
    (image,), (label,) = table.features, table.targets
    assert (image.dtype, image.shape, label.dtype, label.categories) == ("uint8", SHAPE, "int32", ("cat", "dog"))
    assert image.channel_means == pytest.approx(pixels.reshape(-1, 3).mean(axis=0))
    assert image.channel_stds == pytest.approx(pixels.reshape(-1, 3).std(axis=0))
    assert (image.min, image.max) == (pixels.min(), pixels.max())
    assert image.std == pytest.approx(pixels.std())


def test_shuffled_training_rows_are_the_same_images_with_their_labels(folder: Path, make) -> None:
    table, plain = make(folder), make(folder, order=Order.file)
    rows = {images.tobytes(): label for images, label in zip(*plain.read("train", 0, plain.train_rows), strict=True)}
    found = list(zip(*table.read("train", 0, table.train_rows), strict=True))
    assert {images.tobytes(): label for images, label in found} == rows
    assert [images.tobytes() for images, _ in found] != list(rows)
    for one, other in zip(table.read("holdout", 0, 99), plain.read("holdout", 0, 99), strict=True):
        assert np.array_equal(one, other)


def test_one_more_file_moves_no_other(folder: Path, make) -> None:
    before = make(folder, order=Order.file)
    held_out = {image.tobytes() for image in before.read("holdout", 0, before.holdout_rows)[0]}
    (folder / "cat" / "0000.png").write_bytes(encoded(picture(999)))
    shutil.copytree(folder, folder.with_name("moved"))
    after = make(folder.with_name("moved"), order=Order.file)
    assert held_out <= {image.tobytes() for image in after.read("holdout", 0, after.holdout_rows)[0]}
    assert after.train_rows + after.holdout_rows == before.train_rows + before.holdout_rows + 1
    assert abs(before.holdout_rows - 10) < 7


def test_a_test_and_folds_divide_the_images(folder: Path, make, tmp_path: Path) -> None:
    def images(table: Table) -> dict[str, set[bytes]]:
        return {part: {image.tobytes() for image in table.read(part, 0, table.rows(part))[0]} for part in table.parts}

    plain, tested = images(make(folder)), images(make(folder, test=0.3))
    assert 5 < len(tested["test"]) < 25
    assert tested["holdout"] == plain["holdout"]
    assert tested["test"] == plain["train"] - tested["train"]
    folds = [images(make(folder, test=0.3, folds=3, fold=fold)) for fold in range(3)]
    assert [fold["test"] for fold in folds] == [tested["test"]] * 3
    held_out = [image for fold in folds for image in fold["holdout"]]
    assert sorted(held_out) == sorted(tested["train"] | tested["holdout"])
    other = write_folder(tmp_path / "other", {"dog": 3})
    apart = make(folder, holdout_path=str(other), test=0.3)
    assert (apart.holdout_rows, apart.test_rows) == (3, len(tested["test"]))


def test_threads_do_not_affect_results(folder: Path, make, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {*threading.enumerate()}  # Other tests in this process may have left some.
    several = make(folder)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})
    assert make(folder, cache="again").digest == several.digest
    assert len({*threading.enumerate()} - before) < 20


def test_a_table_is_reused_until_a_file_changes_and_then_stale(folder: Path, make, tmp_path: Path) -> None:
    table = make(folder)
    assert make(folder, scaling=Scaling.none).folder == table.folder
    assert make(folder, split_seed=1).folder != table.folder
    (cached,) = [each for each in list_tables(tmp_path / "cache") if each.folder == table.folder]
    assert (cached.state, cached.addresses) == ("ready", (str(folder),))
    assert verify_table(cached, lambda state: None) == ""
    (folder / "dog" / "0.png").write_bytes(encoded(picture(5)))
    assert {each.state for each in list_tables(tmp_path / "cache")} == {"stale"}
    assert verify_table(cached, lambda state: None).startswith("its source has changed")
    assert make(folder).digest != table.digest
    assert load_table(table.folder) == table


@pytest.mark.parametrize(("fit", "bounds"), [(Fit.stretch, (0, 255)), (Fit.crop, (0, 0)), (Fit.pad, (0, 255))])
def test_fits(fit: Fit, bounds: tuple[int, int]) -> None:
    image = Image.new("RGB", (60, 8))  # Black, with white ends.
    image.paste((255, 255, 255), (0, 0, 15, 8))
    image.paste((255, 255, 255), (45, 0, 60, 8))
    with quiet():
        pixels = decode(encoded(image), ".png", SHAPE, fit).pixels
    assert (pixels.shape, (pixels.min(), pixels.max())) == (SHAPE, bounds)
    rows = pixels[:, 0, 0].tolist()
    assert rows == {Fit.stretch: [255] * 4, Fit.crop: [0] * 4, Fit.pad: [0, 255, 0, 0]}[fit]


def test_drafts_of_jpeg_files_look_the_same() -> None:
    smooth = picture(1, (6, 4)).resize((640, 480), Image.Resampling.BICUBIC)
    with quiet():
        draft = decode(encoded(smooth, "JPEG", quality=95), ".jpg", (32, 32, 3), Fit.crop).pixels
        whole = decode(encoded(smooth), ".png", (32, 32, 3), Fit.crop).pixels
    assert np.abs(draft.astype(int) - whole).mean() < 1.5


def test_lists_have_labels_groups_and_numbers(folder: Path, make, tmp_path: Path) -> None:
    names = [f"{name}/{index}.png" for name in ("cat", "dog") for index in range(20)]
    rows = [f"{name},{index % 3}.5,p{index % 7},{'ja' if index % 2 else 'nein'}" for index, name in enumerate(names)]
    listed = tmp_path / "list.csv"
    listed.write_text("file,age,patient,label\n" + "\n".join(rows) + "\n")
    table = make(folder, labels=str(listed), group="patient", order=Order.file)
    assert table.targets[0].categories == ("ja", "nein")
    assert table.train_rows + table.holdout_rows == 40
    aside = {image.tobytes() for image in table.read("holdout", 0, 40)[0]}
    whole = make(folder, labels=str(listed), order=Order.file, holdout=0.0).read("train", 0, 40)[0]
    groups = [[image.tobytes() in aside for image in whole[index::7]] for index in range(7)]
    assert all(len({*group}) == 1 for group in groups)
    assert {any(group) for group in groups} == {True, False}
    other = tmp_path / "pets" / "list.parquet"
    pq.write_table(pa.table({"path": names, "age": [float(index % 3) for index in range(40)]}), other)
    table = make(other, label_column="age", label_type=LabelType.number, holdout=0.0, order=Order.file)
    target = table.targets[0]
    assert table.read("train", 0, 4)[1].tolist() == [0.0, 1.0, 2.0, 0.0]
    assert (target.name, target.dtype, target.categories, target.mean) == ("age", "float32", (), pytest.approx(0.975))


@pytest.mark.parametrize("order", list(Order))
def test_large_numbers_as_labels_keep_their_variation(order: Order, folder: Path, make) -> None:
    times = [1_700_000_000 + index for index in range(20)]
    rows = [f"cat/{index}.png,{time}" for index, time in enumerate(times)]
    listed = folder / "list.csv"
    listed.write_text("path,label\n" + "\n".join(rows) + "\n")
    table = make(listed, label_type=LabelType.number, holdout=0.0, order=order)
    target = table.targets[0]
    assert sorted(target.own_units(table.read("train", 0, 20)[1]).tolist()) == times
    assert (target.mean, target.std) == (pytest.approx(np.mean(times), rel=1e-12), pytest.approx(np.std(times)))


def test_parquet_with_images_and_hugging_face_class_names(make, tmp_path: Path) -> None:
    path = tmp_path / "images.parquet"
    images = [{"bytes": encoded(picture(index)), "path": f"{index}.png"} for index in range(9)]
    feature = '{"info": {"features": {"label": {"names": ["b", "a"], "_type": "ClassLabel"}}}}'
    table = pa.table({"image": images, "label": [index % 2 for index in range(9)]})
    pq.write_table(table.replace_schema_metadata({"huggingface": feature}), path)
    found = make(path, holdout=0.0, order=Order.file)
    pixels, labels = found.read("train", 0, 9)
    assert (found.targets[0].categories, labels.tolist()) == (("b", "a"), [0, 1, 0, 1, 0, 1, 0, 1, 0])
    assert np.array_equal(pixels[3], np.asarray(picture(3).resize((6, 4), Image.Resampling.BILINEAR)))
    plain = pa.table({"image": [image["bytes"] for image in images], "y": [f"{index % 2}" for index in range(9)]})
    pq.write_table(plain, path)
    assert make(path, holdout=0.0).targets[0].categories == ("0", "1")


def test_held_out_images_apart(folder: Path, make, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", {"dog": 3})
    for index in range(3):
        (other / "dog" / f"{index}.png").write_bytes(encoded(picture(500 + index)))
    shutil.copy(folder / "dog" / "7.png", other / "dog" / "0.png")
    table = make(folder, holdout_path=str(other))
    assert (table.train_rows, table.holdout_rows) == (50, 3)
    assert table.read("holdout", 0, 3)[1].tolist() == [1, 1, 1]
    assert f"1 duplicate image in both parts: dog/7.png and {other}/dog/0.png" in table.notes
    assert "no held-out image of cat" in table.notes


def test_a_folder_passes_the_check_before_training(folder: Path) -> None:
    check_first_rows(ImagesConfig([4, 6], path=str(folder)), CLASSES_LOSS)
    check_first_rows(ImagesConfig([4, 6]), CLASSES_LOSS)
    with pytest.raises(ConfigError, match=r"^data\.holdout_path: no such file or folder: .*/nothing\."):
        check_first_rows(ImagesConfig([4, 6], path=str(folder), holdout_path=str(folder / "nothing")), CLASSES_LOSS)


@pytest.mark.slow
def test_the_built_in_digits(make) -> None:
    table = make(None, [8, 8], channels=1)
    assert (table.train_rows + table.holdout_rows, table.features[0].shape) == (1797, (8, 8, 1))
    assert table.targets[0].categories == tuple("0123456789")
    assert table.notes == ()


def test_an_interrupted_ingest_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    def interrupt(state: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_table(ImagesConfig([4, 6], path=str(folder)), tmp_path / "cache", interrupt)
    assert list((tmp_path / "cache" / "tables").iterdir()) == []
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("map_ahead")])


PROGRAM = """
import os, signal, sys
from pathlib import Path
from harness.config import ImagesConfig
from harness.data.tables.builder import open_table

def progress(state):
    if state.rows == 33:
        os.kill(os.getpid(), signal.SIGKILL)

open_table(ImagesConfig([4, 6], path=sys.argv[1]), Path(sys.argv[2]), progress)
"""


def test_a_killed_ingest_leaves_nothing_half_made(folder: Path, make, tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROGRAM, str(folder), str(tmp_path / "cache")]
    assert subprocess.run(words, timeout=60).returncode == -signal.SIGKILL
    assert [cached.state for cached in list_tables(tmp_path / "cache")] == ["broken"]
    assert make(folder).digest == make(folder, cache="other").digest


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": [64]}, "data.image_size must be a height and a width, such as [64,64], not [64]."),
        ({"image_size": [64, 0]}, "data.image_size must be positive, not 0."),
        ({"channels": 4}, "data.channels must be 1 or 3, not 4."),
        ({"path": ["a", "b"]}, "data.path must be one folder or file, not ['a', 'b']."),
        ({"classes": ["a"]}, "data.classes must name at least two classes."),
        ({"classes": ["a", "a"]}, "data.classes names a more than once."),
        (
            {"path": "a", "holdout_path": "b", "group": "c"},
            "data.group has no effect with data.holdout_path, which determines the holdout. Remove one of them.",
        ),
        (
            {"path": "a", "holdout_path": "b", "folds": 3, "fold": 0},
            "data.folds has no effect with data.holdout_path, which determines the holdout. Remove one of them.",
        ),
        ({"folds": 3}, "data.folds=3: add -m to train all folds, or choose one with data.fold, from 0 to 2."),
        ({"labels": "x.csv"}, "data.labels needs data.path, the folder of the images."),
    ],
)
def test_the_schema(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        ImagesConfig(**({"image_size": [8, 8]} | changes))
    assert str(error.value) == sentence


def test_parquet_is_read_page_by_page(tmp_path: Path) -> None:
    rows, size = 400, 50_000
    noise = np.random.default_rng(0).bytes(size)
    images = pa.table({"image": [noise] * rows, "label": [row % 2 for row in range(rows)]})
    pq.write_table(images, tmp_path / "x.parquet", row_group_size=rows, write_batch_size=8, use_dictionary=False)
    del images
    pool, held = pa.default_memory_pool(), []
    before = pool.bytes_allocated()
    for _ in ImageParquet(str(tmp_path / "x.parquet"), ImagesConfig([4, 6])).read():
        held.append(pool.bytes_allocated() - before)
    assert len(held) == rows
    assert max(held) < rows * size / 4
