"""A first look at images: how many there are per class, what is unusual about them, and a command to train on them."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.config import ImagesConfig, Unreadable
from harness.config.overrides import override
from harness.data.images.decode import Odd
from harness.data.images.folder import split_of
from harness.data.images.input import ImageFiles
from harness.data.images.list import is_parquet_file
from harness.data.images.notes import Notes
from harness.data.images.parquet import holds_images
from harness.data.images.reading import Read, read_images
from harness.data.images.set import SUFFIXES_OF_IMAGES, Rejected, suffix_of
from harness.data.profiling.layout import command_to_start, notes_under
from harness.data.storage.urls import name_of
from harness.data.tables.pages import PARTS
from harness.errors import ConfigError
from harness.escaping import visible
from harness.formatting import listed

LISTED = 40
"""Maximum number of classes to list; smaller classes are left out."""

USUAL = 64
"""Default height and width of `data=images`."""

START = "harness train data=images model=cnn loss=sparse_categorical_crossentropy"

RARE = 10
"""A class is reported as rare if the largest class has at least this many times as many images."""


@dataclass(frozen=True)
class Description:
    """What was found at an address.

    Attributes:
        classes: Usable training images by class.
        held_out: Usable held-out images by class, if they are separate.
        bytes: Size of the files.
        notes: Properties of the usable images, and what is unusual about them.
        command: A command to train on them; empty if there is nothing to train on.
    """

    address: str
    classes: dict[str, int]
    held_out: dict[str, int]
    bytes: int
    notes: list[str]
    command: str


def has_images(address: str) -> bool:
    """Return True if an address is a folder with images or subfolders, or a Parquet file that holds images."""
    path = Path(address)
    if path.is_dir():
        shown = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        return any(entry.is_dir() or suffix_of(entry.name) in SUFFIXES_OF_IMAGES for entry in shown)
    with contextlib.suppress(ConfigError, OSError):
        return path.is_file() and is_parquet_file(address) and holds_images(address, ImagesConfig([USUAL, USUAL]))
    return False


def describe_images(address: str) -> Description:
    """Decode all images at `address`, and describe them.

    Raises:
        ConfigError: The images are not where training would find them.
    """
    is_relative, apart = not Path(address).is_absolute(), None
    address = str(Path(address).absolute())
    if Path(address).is_dir() and (parts := split_of(Path(address))):
        address, apart = parts
    data = ImagesConfig([USUAL, USUAL], path=address, holdout_path=apart, unreadable=Unreadable.drop)
    train, holdout = ImageFiles([address, *([apart] if apart else [])], data).sets()
    with Notes(train.address) as notes:
        sizes = Counter[tuple[int, int]]()
        counts: tuple[Counter[str], Counter[str]] = (Counter(dict.fromkeys(train.labels(), 0)), Counter())
        index = {label: float(number) for number, label in enumerate(train.labels())}
        for images, found, part in zip((train, holdout), counts, PARTS, strict=True):
            if not images:
                continue
            for result in read_images(images.read(), data):
                if isinstance(result, Rejected):
                    notes.rejected.append(result)
                    continue
                found[result.item.label] += 1
                _count_size(sizes, result)
                target = index.get(result.item.label, -1.0)
                notes.add(result.item.name, result.image, result.content, target, part)
            notes.skipped += images.skipped
        total = sum(each.total_bytes for each in (train, holdout) if each)
        lines = [*_shapes(notes), *notes.lines(), *_balance(counts[0])]
        if is_relative:
            data = replace(data, path=os.path.relpath(address), holdout_path=apart and os.path.relpath(apart))
        command = _command(data, notes, sizes) if min(counts[0].values(), default=0) else ""
        if not command:
            lines.append("each class needs an image to train on")
        return Description(address, dict(counts[0]), dict(counts[1]), total, lines, command)


def _count_size(sizes: Counter[tuple[int, int]], result: Read) -> None:
    """Count image sizes, but only as many distinct ones as are of interest."""
    if len(sizes) < 2 or result.image.size in sizes:
        sizes[result.image.size] += 1


def _shapes(notes: Notes) -> Iterator[str]:
    if len(notes.formats) == 1:
        yield f"all images are {next(iter(notes.formats))}"
    (width, height), (wide, high) = notes.smallest, notes.largest
    if (width, height) == (wide, high):
        yield f"all images have {width:,} x {height:,} pixels"
    elif wide:
        yield f"images have {width:,} x {height:,} to {wide:,} x {high:,} pixels"


def _balance(counts: Counter[str]) -> Iterator[str]:
    largest = max(counts.values(), default=0)
    rare = [f"{name} ({count:,})" for name, count in counts.items() if RARE * count < largest]
    if rare:
        yield f"rare classes: {listed(rare, 5)}"


def _command(data: ImagesConfig, notes: Notes, sizes: Counter[tuple[int, int]]) -> str:
    values: dict[str, object] = {"data.path": data.path}
    if data.holdout_path:
        values["data.holdout_path"] = data.holdout_path
    if notes.rejected:
        values["data.unreadable"] = "drop"
    count = sum(notes.formats.values())
    if notes.odd[Odd.grey] == count:
        values["data.channels"] = 1
    if len(sizes) == 1 and max(next(iter(sizes))) < USUAL:
        width, height = next(iter(sizes))
        values["data.image_size"] = [height, width]
    words = [override(key, value) for key, value in values.items()]
    return " ".join([START, *words])


def render(description: Description) -> RenderableType:
    """Lay out `description` for a terminal; print it with `soft_wrap=True`, or very long paths are cut off."""
    total = sum((*description.classes.values(), *description.held_out.values()))
    size = f"{total:,} images in {len(description.classes):,} classes, {description.bytes:,} bytes"
    parts: list[RenderableType] = [Text(f"{visible(name_of(description.address))}: {size}\n", style="bold")]
    parts.append(_table(description))
    parts += notes_under("Properties of the images", description.notes)
    parts += command_to_start(description.command)
    return Group(*parts)


def _table(description: Description) -> Table:
    columns = ["class", "images", *(["held out"] if description.held_out else [])]
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    counts = list(description.classes.items())
    if len(counts) > LISTED:
        counts = sorted(counts, key=lambda pair: -pair[1])[:LISTED]
    for name, count in counts:
        more = [f"{description.held_out.get(name, 0):,}"] if description.held_out else []
        table.add_row(Text(visible(name)), f"{count:,}", *more)
    if len(description.classes) > LISTED:
        table.add_row(f"and {len(description.classes) - LISTED:,} more", "")
    return table
