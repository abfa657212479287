"""Reads and decodes images in threads, in order."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import xxhash

from harness.config import ImagesConfig
from harness.data.images.decode import Decoded, UnreadableImage, decode, quiet
from harness.data.images.set import Item, Rejected
from harness.runtime.prefetch import map_ahead

BATCH = 8
"""Number of images that a thread decodes at a time."""


class Read(NamedTuple):
    """An image that was read: `content` identifies its bytes."""

    item: Item
    image: Decoded
    content: bytes


def read_images(images: Iterator[Item | Rejected], data: ImagesConfig) -> Generator[Read | Rejected]:
    """Decode images with one thread per core, and return them in order."""
    workers = len(os.sched_getaffinity(0))
    batches = map_ahead(partial(_decode_all, data=data), _batched(images), workers, 2 * workers)
    with quiet(), contextlib.closing(batches):
        yield from itertools.chain.from_iterable(batches)


def _decode_all(batch: Sequence[Item | Rejected], data: ImagesConfig) -> list[Read | Rejected]:
    return [item if isinstance(item, Rejected) else _decode(item, data) for item in batch]


def _decode(item: Item, data: ImagesConfig) -> Read | Rejected:
    content = item.load()
    if isinstance(content, Rejected):
        return content
    try:
        image = decode(content, item.suffix, data.shape, data.fit)
    except UnreadableImage as error:
        return Rejected(item.name, str(error))
    return Read(item, image, xxhash.xxh3_64_digest(content))


def _batched(items: Iterator[Item | Rejected]) -> Generator[list[Item | Rejected]]:
    while batch := list(itertools.islice(items, BATCH)):
        yield batch
