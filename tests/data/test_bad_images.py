"""Unusable images are rejected by name, or left out and listed; unusual ones are used and counted."""

from __future__ import annotations

import os
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.config import Fit, ImagesConfig, LabelType, Order, Unreadable
from harness.data.images import reading
from harness.data.images.set import load_file
from harness.data.split import Split
from harness.data.tables.builder import open_table
from harness.data.tables.table import NAMES, Table
from harness.errors import ConfigError
from tests.data.test_images import encoded, picture, write_folder

JPEG = encoded(picture(1, (300, 200)), "JPEG")
REMEDY = ". Fix or remove it, or leave out all such images with data.unreadable=drop."


def png(width: int, height: int) -> bytes:
    """Return a small file that claims to be a large image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def turned(orientation: int, image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, exif=exif)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pets", {"cat": 4, "dog": 4})


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Table]:
    def run(path: Path, **options: Any) -> Table:
        options = {"image_size": [4, 6], "holdout": 0.0, "order": Order.file} | options
        return open_table(ImagesConfig(path=str(path), **options), tmp_path / "cache")

    return run


def refusal(make: Callable[..., Table], path: Path, **options: Any) -> str:
    tables = path.parent / "cache" / "tables"
    before = list(tables.glob("*"))
    with pytest.raises(ConfigError) as error:
        make(path, **options)
    assert list(tables.glob("*")) == before
    return str(error.value)


BAD = {
    "empty": (b"", "is empty"),
    "truncated": (JPEG[: len(JPEG) // 2], "cannot be decoded (image file is truncated ("),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "is a web page, not an image"),
    "noise": (b"abc" * 100, "is not an image"),
    "bomb": (png(50_000, 50_000), "has more than 150 million pixels"),
    "smaller bomb": (png(16_000, 10_000), "has 16,000 x 10,000 pixels, more than 150 million"),
    "float": (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "has floating-point pixels, whose range"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused_or_left_out(name: str, folder: Path, make) -> None:
    data, reason = BAD[name]
    path = folder / "cat" / "1a.jpg"
    path.write_bytes(data)
    sentence = refusal(make, folder)
    assert sentence.startswith(f"{path} {reason}")
    assert sentence.endswith(REMEDY)
    table = make(folder, unreadable=Unreadable.drop)
    assert (table.train_rows, table.dropped) == (8, 1)
    assert table.notes[-1].startswith(f"left out 1: {path} {reason}")


def test_files_that_are_not_images_are_skipped(folder: Path, make) -> None:
    for name in ("cat/._0.jpg", ".DS_Store", "dog/Thumbs.db", "dog/.ipynb_checkpoints/0.png", "cat/notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert make(folder).notes == ("not read: 4 hidden or made by a file manager, 1 without an image suffix",)


GREY16 = np.full((8, 12), 257 * 100, np.uint16)
ODD = {
    "suffix": (JPEG, "with the suffix of another format, read by content", None),
    "rotated": (turned(6, picture(1)), "rotated or mirrored according to their EXIF data", None),
    "orientation": (turned(99, picture(1)), "with broken EXIF data, kept as they are", None),
    "exif": (encoded(picture(1), exif=b"Exif\0\0nonsense"), "with broken EXIF data, kept as they are", None),
    "16-bit grey": (
        encoded(Image.fromarray(GREY16)),
        "with more than 8 bits per channel, scaled to 8",
        (100, 100, 100),
    ),
    "alpha": (encoded(Image.new("RGBA", (12, 8), (255, 0, 0, 0))), "with transparency, placed on white", (255,) * 3),
    "palette": (encoded(Image.new("P", (12, 8), 0)), "with a palette, converted", (0, 0, 0)),
    "1 bit": (encoded(Image.new("1", (12, 8), 1)), "with 1 bit per pixel, converted", (255, 255, 255)),
    "grey": (encoded(Image.new("L", (12, 8), 7)), "in grayscale, converted to color", (7, 7, 7)),
    "CMYK JPEG": (
        encoded(Image.new("CMYK", (12, 8), (0, 255, 255, 0)), "JPEG", quality=100),
        "in CMYK, converted",
        (255, 0, 0),
    ),
    "CMYK": (encoded(Image.new("CMYK", (12, 8), (0, 255, 255, 0)), "TIFF"), "in CMYK, converted", (255, 0, 0)),
    "animated": (
        encoded(Image.new("RGB", (12, 8), (255, 0, 0)), save_all=True, append_images=[Image.new("RGB", (12, 8))]),
        "with several frames, of which only the first is used",
        (255, 0, 0),
    ),
    "one pixel": (encoded(Image.new("RGB", (1, 1), (1, 2, 3))), "smaller than data.image_size, enlarged", (1, 2, 3)),
    "extreme": (encoded(Image.new("RGB", (3000, 20), (1, 2, 3))), "of extreme proportions", (1, 2, 3)),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_used_and_counted(name: str, folder: Path, make) -> None:
    data, phrase, colour = ODD[name]
    path = folder / "cat" / "0.png"
    path.write_bytes(data)
    table = make(folder)
    assert f"1 image {phrase}: cat/0.png" in table.notes
    if colour:
        assert (table.read("train", 0, 1)[0] == np.array(colour)).all()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_rotation(orientation: int, folder: Path, make) -> None:
    # The image has the requested size, so only the rotation changes pixels.
    upright = np.asarray(picture(3, (6, 4)))
    turns: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: lambda image: image.swapaxes(0, 1),
        6: np.rot90,
        7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
        8: lambda image: np.rot90(image, 3),
    }
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation](upright)))
    (folder / "cat" / "0.png").write_bytes(turned(orientation, stored))
    assert np.array_equal(make(folder).read("train", 0, 1)[0][0], upright)


def test_extreme_shapes_by_fit(folder: Path, make) -> None:
    for index, size in enumerate([(1, 1), (2000, 1), (1, 2000)]):
        (folder / "cat" / f"{index}.png").write_bytes(encoded(Image.new("RGB", size, (9, 9, 9))))
    for fit in Fit:
        pixels = make(folder, fit=fit).read("train", 0, 3)[0]
        assert (pixels.max(axis=(1, 2, 3)) == 9).all()
        shrunk = 2 if fit is Fit.pad else 0
        assert f"{3 - shrunk} image{'' if shrunk else 's'} smaller than data.image_size, enlarged: " in "".join(
            make(folder, fit=fit).notes
        )


def test_an_empty_class(folder: Path, make) -> None:
    (folder / "emu").mkdir()
    assert refusal(make, folder) == f"{folder}/emu is a class folder without images{REMEDY}"
    sentence = refusal(make, folder, unreadable=Unreadable.drop)
    assert sentence == "The class emu has no training images: it has no images."
    assert make(folder, unreadable=Unreadable.drop, classes=["cat", "dog"]).dropped == 1


def is_held_out(key: str, seed: int) -> bool:
    return Split.of(ImagesConfig([4, 6], holdout=0.5, split_seed=seed)).part_of(key) == "holdout"


def test_a_class_without_a_training_image(tmp_path: Path, make) -> None:
    folder = write_folder(tmp_path / "pets", {"cat": 20, "dog": 1})
    seed = next(seed for seed in range(99) if is_held_out("dog/0.png", seed) and not is_held_out("cat/0.png", seed))
    assert refusal(make, folder, holdout=0.5, split_seed=seed) == (
        "The class dog has no training images: its only image is held out; lower data.holdout or change "
        "data.split_seed."
    )


@pytest.mark.parametrize("names", [("train", "validation"), ("Train", "test"), ("test", "val")])
def test_the_parts_of_a_split(names: tuple[str, str], tmp_path: Path, make) -> None:
    folder = tmp_path / "pets"
    for name in names:
        write_folder(folder / name, {"cat": 1, "dog": 1})
    first, other = sorted(names, key=lambda name: (name.lower() != "train", name))
    assert refusal(make, folder) == (
        f"data.path: {folder} holds {' and '.join(sorted(names))}, which are parts of a split, not classes. "
        f"Set data.path={folder}/{first} data.holdout_path={folder}/{other}."
    )


def test_loose_files_and_a_single_class(folder: Path, make) -> None:
    (folder / "loose.PNG").write_bytes(encoded(picture(1)))
    assert refusal(make, folder) == f"{folder}/loose.PNG is outside the class folders{REMEDY}"
    assert make(folder, unreadable=Unreadable.drop).dropped == 1
    assert refusal(make, folder / "cat") == (
        f"data.path: {folder}/cat has no folders of classes; it needs one subfolder of images per class."
    )


def test_a_single_class_and_no_images(tmp_path: Path, make) -> None:
    one = write_folder(tmp_path / "one", {"cat": 2})
    needs = "it needs one subfolder of images per class."
    assert refusal(make, one) == f"data.path: {one} has only one class, cat; {needs}"
    (tmp_path / "none").mkdir()
    assert refusal(make, tmp_path / "none") == f"data.path: {tmp_path}/none has no images; {needs}"
    missing = f"data.path: no such file or folder: {tmp_path}/x. Get it from there."
    assert refusal(make, tmp_path / "x", origin="there") == missing


def test_names_that_are_the_same_after_normalisation(folder: Path, make) -> None:
    for form in ("NFC", "NFD"):
        write_folder(folder, {unicodedata.normalize(form, "café"): 1})
    assert refusal(make, folder) == (
        f"data.path: {folder} has two folders whose names differ only in how café is encoded "
        "('cafe\\u0301' and 'caf\\xe9'). Merge or rename them."
    )


def test_files_whose_names_are_the_same_after_normalisation(folder: Path, make) -> None:
    for form in ("NFC", "NFD"):
        (folder / "cat" / unicodedata.normalize(form, "é.png")).write_bytes(encoded(picture(50)))
    # On another file system they would be the same file, so both are in the same part.
    for seed in range(5):
        held_out = (make(folder, holdout=0.5, split_seed=seed).folder / NAMES).read_text().splitlines()
        assert held_out.count("cat/é.png") in (0, 2)


def test_the_same_bytes_twice(folder: Path, make) -> None:
    (folder / "dog" / "0.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    (folder / "dog" / "2.png").write_bytes((folder / "dog" / "1.png").read_bytes())
    assert make(folder).notes == (
        "1 duplicate image under different labels: cat/0.png and dog/0.png",
        "1 duplicate image",
    )
    seed = next(
        seed
        for seed in range(99)
        if [is_held_out(f"dog/{index}.png", seed) for index in (1, 2, 3)] == [True, False, False]
        and not is_held_out("cat/1.png", seed)
    )
    both = "1 duplicate image in both parts: dog/1.png and dog/2.png"
    assert both in make(folder, holdout=0.5, split_seed=seed).notes


def test_rows_of_a_list(folder: Path, make, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("path,label\npets/cat/0.png,cat\npets/dog/0.png,dog\npets/dog/9.png,dog\n")
    assert refusal(make, path) == f"{path}, row 3: pets/dog/9.png does not exist{REMEDY}"
    path.write_text("path,label\npets/cat/0.png,cat\npets/dog/0.png,\n,dog\npets/dog/1.png,dog\n")
    assert refusal(make, path) == f"{path}, row 2: pets/dog/0.png has no label{REMEDY}"
    assert make(path, unreadable=Unreadable.drop).notes[0].endswith(f"{path}, row 3: the image has no path")
    path.write_text("where,label\npets/cat/0.png,cat\n")
    usual = (
        f"{path}: no column has one of the usual names for the images. Set data.path_column to one of: where, label."
    )
    assert refusal(make, path) == usual
    assert refusal(make, path, path_column="there") == f"{path} has no column there. Did you mean where?"
    assert refusal(make, path, path_column="where") == f"{path} has only one class, cat."


@pytest.mark.parametrize("key", ["group", "path_column", "label_column"])
def test_a_folder_has_no_columns(key: str, folder: Path, make) -> None:
    assert refusal(make, folder, **{key: "patient"}) == (
        f"data.{key}: {folder} is a folder of classes and has no columns. Name a list of its images with "
        f"data.labels, or remove data.{key}."
    )


def test_images_without_a_group(folder: Path, make, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("path,label,who\npets/cat/0.png,cat,\npets/cat/1.png,cat,a\npets/dog/0.png,dog,b\n")
    reason = "has no group in the column data.group"
    assert refusal(make, path, group="who") == f"{path}, row 1: pets/cat/0.png {reason}{REMEDY}"
    assert make(path, group="who", unreadable=Unreadable.drop).dropped == 1
    path = tmp_path / "images.parquet"
    images = [encoded(picture(index)) for index in range(3)]
    pq.write_table(pa.table({"image": images, "label": ["a", "b", "a"], "who": ["x", "y", None]}), path)
    assert refusal(make, path, group="who") == f"{path}, row 3 {reason}{REMEDY}"


def test_images_in_a_file_are_split_even_if_all_have_the_same_path(make, tmp_path: Path) -> None:
    path = tmp_path / "images.parquet"
    images = [{"bytes": encoded(picture(index)), "path": "image.png"} for index in range(40)]
    pq.write_table(pa.table({"image": images, "label": ["a", "b"] * 20}), path)
    for seed in range(3):
        assert 2 <= make(path, holdout=0.3, split_seed=seed).holdout_rows <= 22


def test_labels_that_are_not_classes(folder: Path, make, tmp_path: Path) -> None:
    write_folder(folder, {"emu": 2})
    among = "which is not among data.classes"
    sentence = f"{folder}/emu/0.png has the label 'emu', {among}{REMEDY}"
    assert refusal(make, folder, classes=["dog", "cat"]) == sentence
    table = make(folder, classes=["dog", "cat"], unreadable=Unreadable.drop)
    assert (table.targets[0].categories, table.train_rows, table.dropped) == (("dog", "cat"), 8, 2)
    assert table.read("train", 0, 1)[1].tolist() == [1]
    missing = f"data.classes: {folder} has no class bird. It has: cat, dog, emu."
    assert refusal(make, folder, classes=["cat", "bird"]) == missing
    other = write_folder(tmp_path / "other", {"yak": 1})
    assert refusal(make, folder, holdout_path=str(other)) == (
        f"{other}/yak/0.png has the label 'yak', which is not among the classes of the training images{REMEDY}"
    )


def test_labels_that_are_not_numbers(folder: Path, make) -> None:
    assert refusal(make, folder, label_type=LabelType.number) == (
        f"{folder}/cat/0.png has the label 'cat', which is not a number{REMEDY}"
    )
    path = folder / "list.csv"
    path.write_text("path,label\ncat/0.png,1\ncat/1.png,1e39\n")
    assert refusal(make, path, label_type=LabelType.number) == (
        f"{path}, row 2: cat/1.png has the label '1e39', which float32 cannot represent{REMEDY}"
    )


def test_damaged_parquet(make, tmp_path: Path) -> None:
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": [encoded(picture(1)), b"", None], "label": ["a", "b", "b"]}), path)
    assert refusal(make, path) == f"{path}, row 2 is empty{REMEDY}"
    path.write_bytes(path.read_bytes()[:-30])
    assert refusal(make, path).startswith(f"data.path: {path} is damaged (")


def test_a_damaged_list_is_named(make, tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"path": [f"{row}.png" for row in range(100)], "label": ["a", "b"] * 50}), path)
    content = bytearray(path.read_bytes())
    content[40:400] = bytes(360)
    path.write_bytes(content)
    assert refusal(make, path).startswith(f"data.path: {path} is damaged (")


@pytest.mark.parametrize("change", ["edit", "remove", "add"])
def test_files_that_change_or_go_away_while_they_are_read(
    change: str, folder: Path, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, decode = folder / "dog" / "3.png", reading.decode

    def disturb(*arguments: Any) -> Any:
        monkeypatch.setattr(reading, "decode", decode)
        if change == "remove":
            path.unlink()
        else:
            (path if change == "edit" else folder / "dog" / "9.png").write_bytes(encoded(picture(7)))
        return decode(*arguments)

    monkeypatch.setattr(reading, "BATCH", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    monkeypatch.setattr(reading, "decode", disturb)
    assert (
        refusal(make, folder)
        == {
            "edit": f"{path} changed while the images were being read. Train again once it is complete.",
            "remove": f"{path} was removed while the images were being read.",
            "add": f"{folder} changed while it was being read. Train again once it is complete.",
        }[change]
    )


def test_links(folder: Path, make) -> None:
    (folder / "cat" / "above").symlink_to(folder)
    (folder / "dog" / "8.png").symlink_to(folder / "nothing.png")
    assert refusal(make, folder) == f"{folder}/dog/8.png is a broken link{REMEDY}"
    assert "not read: 1 a link to a folder above it" in make(folder, unreadable=Unreadable.drop).notes


def test_a_file_that_may_not_be_read(folder: Path) -> None:
    assert load_file(str(folder), 0) == (str(folder), "cannot be opened (Is a directory)")
