"""A first look at folders of images, and the mistakes and counts that a report shows."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from harness.config import ImagesConfig, Order
from harness.data import mistakes
from harness.data.class_tables import class_counts_csv
from harness.data.mistakes import mistakes_json, read_mistakes
from harness.data.profiling.describe_images import describe_images, has_images, render
from harness.data.tables.builder import open_table
from harness.errors import ConfigError
from tests.data.test_images import encoded, picture, write_folder


def printed(path: Path) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(render(describe_images(str(path))), soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def test_a_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pets", {"cat": 12, "dog": 1})
    (folder / "cat" / "x.jpg").write_bytes(b"")
    size = sum(path.stat().st_size for path in folder.rglob("*.*"))
    assert (
        printed(folder)
        == f"""\
pets: 13 images in 2 classes, {size:,} bytes

class  images
──────────────
cat        12
dog         1

Properties of the images
- all images are PNG
- all images have 12 x 8 pixels
- 13 images smaller than data.image_size, enlarged: cat/0.png, ...
- left out 1: {folder}/cat/x.jpg is empty
- rare classes: dog (1)

To start
harness train \\
    data=images \\
    model=cnn \\
    loss=sparse_categorical_crossentropy \\
    data.path={folder} \\
    data.unreadable=drop \\
    'data.image_size=[8,12]'

Add -m chunksize=full,100 to compare the full sample with chunks of 100 rows."""
    )


def test_parts_of_a_split_are_described_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, count in (("train", 3), ("val", 1)):
        write_folder(tmp_path / part, {"cat": count, "dog": count})
    found = describe_images(str(tmp_path))
    assert (found.classes, found.held_out) == ({"cat": 3, "dog": 3}, {"cat": 1, "dog": 1})
    assert f"data.path={tmp_path}/train data.holdout_path={tmp_path}/val" in found.command
    monkeypatch.chdir(tmp_path)
    assert "data.path=train data.holdout_path=val" in describe_images(".").command
    assert "2 duplicate images in both parts" in "\n".join(found.notes)


def test_grey_images_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "digits.parquet"
    images = [encoded(picture(index).convert("L")) for index in range(4)]
    pq.write_table(pa.table({"image": images, "label": [0, 1, 0, 1]}), path)
    assert has_images(str(path))
    found = describe_images(str(path))
    assert found.classes == {"0": 2, "1": 2}
    assert "data.channels=1" in found.command
    pq.write_table(pa.table({"a": [1.0], "label": [2.0]}), path)
    assert not has_images(str(path))
    assert not has_images(str(tmp_path / "nothing.csv"))


def test_nothing_to_train_on(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pets", {"cat": 2, "dog": 0})
    found = describe_images(str(folder))
    assert (found.command, found.notes[-1]) == ("", "each class needs an image to train on")
    with pytest.raises(ConfigError, match="has no folders of classes"):
        describe_images(str(folder / "cat"))


def test_mistakes_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    other = write_folder(tmp_path / "other", {"cat": 3, "dog": 7})
    data = ImagesConfig([8, 12], path=str(folder), holdout_path=str(other), order=Order.file)
    table = open_table(data, tmp_path / "cache")
    assert class_counts_csv(table) == "class,train,holdout\ncat,20,3\ndog,20,7\n"
    names = replace(table, targets=(replace(table.targets[0], categories=("=1+1", 2.0)),))
    assert class_counts_csv(names) == "class,train,holdout\n'=1+1,20,3\n2,20,7\n"
    # The model always predicts a cat, with more confidence for each further image.
    seen = iter(np.linspace(0.6, 0.9, 10))
    text = mistakes_json(table, lambda pixels: np.array([[(top := next(seen)), 1 - top] for _ in pixels]))
    found = read_mistakes(text)
    assert [each.name for each in found] == [f"dog/{index}.png" for index in range(6, -1, -1)]
    assert {(each.label, each.predicted) for each in found} == {("dog", "cat")}
    assert found[0].probability == pytest.approx(0.9)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[0].png))))
    assert np.array_equal(shown, np.asarray(picture(106)))
    monkeypatch.setattr(mistakes, "MOST", 2)
    seen = iter(np.linspace(0.6, 0.9, 10))
    text = mistakes_json(table, lambda pixels: np.array([[(top := next(seen)), 1 - top] for _ in pixels]))
    assert [each["name"] for each in json.loads(text)] == ["dog/6.png", "dog/5.png"]


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"label": "a"}]', "nonsense"])
def test_foreign_mistakes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_mistakes(text)
