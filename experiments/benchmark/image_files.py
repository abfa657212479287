"""Writes synthetic JPEG files in ten classes, with one folder per class."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 10
PHOTO, THUMBNAIL = (500, 375), (160, 120)
"""Widths and heights of the images whose decoding is timed, and of the images for measuring memory."""
GRAIN = 12.0
"""Standard deviation of the texture of a photo, which makes its file as large as a real one: 41 kB."""


def photos(files: Path, count: int) -> Path:
    """Return a folder in `files` with `count` images with as much detail as photos; write it if necessary."""
    rng = np.random.default_rng(1)
    coarse, fine = (rng.normal(0, GRAIN, (PHOTO[1] // scale, PHOTO[0] // scale, 3)) for scale in (4, 1))
    wide = [Image.fromarray(each.astype(np.float32)).resize(PHOTO) for each in np.moveaxis(coarse, 2, 0)]
    texture = np.stack([np.asarray(each) for each in wide], axis=-1) + fine / 2

    def textured(image: Image.Image, number: int) -> Image.Image:
        # Shifted, so that no two images have the same texture.
        moved = np.roll(texture, (number * 37 % PHOTO[1], number * 101 % PHOTO[0]), (0, 1))
        return Image.fromarray(np.clip(np.asarray(image) + moved, 0, 255).astype(np.uint8))

    return _folder(files / f"harness-bench-{count}-photos", count, PHOTO, textured)


def thumbnails(files: Path, count: int) -> Path:
    """Return a folder in `files` with `count` small and smooth images; write it if necessary."""
    return _folder(files / f"harness-bench-{count}-thumbnails", count, THUMBNAIL, lambda image, number: image)


def _folder(folder: Path, count: int, size: tuple[int, int], change: Callable[[Image.Image, int], Image.Image]) -> Path:
    if folder.exists():
        return folder
    staging = folder.with_suffix(".part")
    shutil.rmtree(staging, ignore_errors=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        label = number % CLASSES
        path = staging / str(label) / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        colours = rng.integers(0, 128, (6, CLASSES, 3), np.uint8)
        colours[:, label] += 127  # Each class has its bright area in a different position.
        image = Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)
        change(image, number).save(path, quality=85)
    staging.rename(folder)
    return folder
