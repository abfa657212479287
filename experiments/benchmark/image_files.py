"""Writes synthetic JPEG files in ten classes, with one folder per class."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 10
PHOTO, THUMBNAIL = (500, 375), (160, 120)
"""Widths and heights of the images whose decoding is timed, and of the images for measuring memory."""


def image_folder(files: Path, count: int, size: tuple[int, int]) -> Path:
    """Return a folder in `files` with `count` images; write it if necessary."""
    folder = files / f"harness-bench-{count}-images-{size[0]}x{size[1]}"
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
        Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path, quality=85)
    staging.rename(folder)
    return folder
