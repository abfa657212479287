"""Ingests images in one pass: decodes them in threads, splits them, and writes their pixels and labels in order."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.config import ImagesConfig, LabelType, Unreadable
from harness.data.classes import spelled_like
from harness.data.images.embedding import Embedder
from harness.data.images.notes import Notes
from harness.data.images.reading import Read, read_images
from harness.data.images.set import ImageSet, Item, Rejected, normal
from harness.data.images.writer import ImageWriter
from harness.data.ingest import IngestProgress, ProgressCallback
from harness.data.precision import Offsets
from harness.data.source import FLOAT32_MAX
from harness.data.split import Split
from harness.data.statistics import Column
from harness.data.tables.manifest import Facts
from harness.data.tables.pages import ALL_PARTS, PARTS, Part, page_rows_of
from harness.data.tables.table import NAMES, Table
from harness.errors import ConfigError, require
from harness.formatting import listed
from harness.runtime.secrets import masked

FEATURE = "image"
TARGET = "label"


def ingest_images(
    train: ImageSet,
    holdout: ImageSet | None,
    data: ImagesConfig,
    folder: Path,
    progress: ProgressCallback,
    weights: str | None = None,
) -> Table:
    """Write the pixels and labels of images into `folder`; `holdout` holds the held-out images if they are separate.

    With `data.embed`, the frozen model's output is written instead of pixels; its weights are in `weights`.

    Raises:
        ConfigError: An image or a label cannot be used and may not be left out, or a class has no training images.
        OSError: The folder cannot be written to, or the disk is full.
    """
    classes = classes_of(train, data)
    index = {name: float(number) for number, name in enumerate(classes)}
    embedder = Embedder.of(data, weights, folder) if weights else None
    planned = _planned(data, classes, embedder)
    page_rows = page_rows_of(planned)
    total, seen, done = sum(each.total_bytes for each in (train, holdout) if each), 0, 0
    with contextlib.ExitStack() as stack:
        notes, offsets = stack.enter_context(Notes(train.address)), Offsets([not classes], page_rows)
        parts: dict[Part, ImageWriter] = {
            part: stack.enter_context(
                ImageWriter(folder, part, planned, page_rows, data.order, data.split_seed, offsets)
            )
            for part in (ALL_PARTS if data.test else PARTS)
        }
        split = Split.of(data, is_held_out_apart=holdout is not None)
        for images in filter(None, (train, holdout)):
            for result in stack.enter_context(contextlib.closing(_read(images, data, embedder))):
                found = _settled(result, index, data)
                if isinstance(found, Rejected):
                    _reject(found, data, notes)
                    continue
                target, read = found
                part = "holdout" if images is holdout else split.part_of(_key(read.item))
                if not classes:
                    offsets.add(np.array([[target]]), np.array([True]))
                parts[part].add(read.image.pixels, target)
                notes.add(read.item.name, read.image, read.content, target, part)
                seen, done = seen + 1, done + read.item.size
                progress(IngestProgress("reading", seen, done, total))
            notes.skipped += images.skipped
        writer = parts["train"]
        _check_classes(classes, parts, data)
        columns, sums = writer.finish()
        sums += b"".join(parts[part].finish()[1] for part in parts if part != "train")
        if embedder:
            embedder.keep_examples(folder)
        with (folder / NAMES).open("w", encoding="utf-8") as names:
            names.writelines(f"{name}\n" for name in notes.held_out_names((holdout or train).address))
        lines = tuple(notes.lines(classes, parts["holdout"].labels.tolist()))
    facts = Facts(
        features=columns[:1],
        targets=columns[1:],
        page_rows=page_rows,
        train_rows=writer.rows,
        holdout_rows=parts["holdout"].rows,
        test_rows=parts["test"].rows if data.test else 0,
        dropped=len(notes.rejected),
        filled=0,
        drift="",
        notes=lines,
        embedding=embedder.kept if embedder else None,
    )
    return Table.of(facts, sums, folder, masked(train.address), data)


def classes_of(images: ImageSet, data: ImagesConfig) -> list[str]:
    """Return the classes in the order of their indices; none if labels are numbers.

    Raises:
        ConfigError: There are fewer than two classes, or `data.classes` names one that does not exist.
    """
    if data.label_type is LabelType.number:
        return []
    found = images.labels()
    if data.classes is not None:
        given = [spelled_like(normal(name), found) for name in data.classes]
        missing = [name for name in given if name not in found]
        lacks = f"{images.address} has no class {', '.join(missing)}. It has: {listed(found, 20)}."
        require(not missing, f"data.classes: {lacks}")
        return given
    require(len(found) > 1, f"{images.address} has {f'only one class, {found[0]}' if found else 'no labels'}.")
    return found


def _settled(result: Read | Rejected, index: dict[str, float], data: ImagesConfig) -> tuple[float, Read] | Rejected:
    """Return an image with its target, or the reason why it cannot be used."""
    if isinstance(result, Rejected):
        return result
    label = result.item.label
    if data.label_type is LabelType.category:
        if label in index:
            return index[label], result
        among = "data.classes" if data.classes is not None else "the classes of the training images"
        return Rejected(result.item.name, f"has the label {label!r}, which is not among {among}")
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        return Rejected(result.item.name, f"has the label {label!r}, which is not a number")
    if abs(number) > float(FLOAT32_MAX):
        return Rejected(result.item.name, f"has the label {label!r}, which float32 cannot represent")
    return number, result


def _reject(found: Rejected, data: ImagesConfig, notes: Notes) -> None:
    notes.rejected.append(found)
    if data.unreadable is Unreadable.error:
        remedy = "Fix or remove it, or leave out all such images with data.unreadable=drop."
        raise ConfigError(f"{found.name} {found.reason}. {remedy}")


def _key(item: Item) -> str:
    """Return the key that decides which part an image belongs to; all images of a group have the same key."""
    return item.key if item.group is None else f"group {item.group}"


def _check_classes(classes: Sequence[str], parts: dict[Part, ImageWriter], data: ImagesConfig) -> None:
    train = parts["train"]
    require(train.rows > 0, "No images are left to train on.")
    aside = sum(writer.labels for part, writer in parts.items() if part != "train")
    shares = f"data.holdout{' or data.test' if data.test else ''}"
    for name, count, others in zip(classes, train.labels.tolist(), np.asarray(aside).tolist(), strict=True):
        all_held = "its only image is" if others == 1 else f"all {others} are"
        where = f"{all_held} held out; lower {shares} or change data.split_seed" if others else "it has no images"
        require(count > 0, f"The class {name} has no training images: {where}.")


def _read(images: ImageSet, data: ImagesConfig, embedder: Embedder | None) -> Generator[Read | Rejected]:
    with contextlib.closing(read_images(images.read(), data)) as found:
        yield from embedder.embedded(found) if embedder else found


def _planned(data: ImagesConfig, classes: Sequence[str], embedder: Embedder | None) -> tuple[Column, Column]:
    pixels = Column(FEATURE, False, 0, 0.0, 1.0, 0.0, 0.0, dtype="uint8", shape=data.shape)
    if embedder:
        pixels = replace(pixels, dtype="float32", shape=(embedder.values,))
    name = data.label_column or TARGET
    if not classes:
        return pixels, Column(name, False, 0, 0.0, 1.0, 0.0, 0.0)
    top = float(len(classes) - 1)
    return pixels, Column(name, False, 0, 0.0, 1.0, 0.0, top, categories=tuple(classes), dtype="int32")
