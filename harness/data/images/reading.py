"""Reads and decodes images in threads, in order."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import xxhash

from harness.config import ImagesConfig
from harness.data.images.decode import Decoded, UnreadableImage, decode, quiet
from harness.data.images.set import ImageSet, Item, Rejected

BATCH = 8
"""Number of images that a thread decodes at a time."""


class Read(NamedTuple):
    """An image that was read: `content` identifies its bytes."""

    item: Item
    image: Decoded
    content: bytes


def read_images(images: ImageSet, data: ImagesConfig) -> Generator[Read | Rejected]:
    """Decode images with one thread per core, and return them in order."""
    workers = len(os.sched_getaffinity(0))
    waiting: deque[Future[list[Read | Rejected]]] = deque()
    with quiet(), ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for batch in _batched(images.read(), BATCH):
                waiting.append(pool.submit(_decode_all, batch, data))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


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


def _batched(items: Iterable[Item | Rejected], size: int) -> Iterator[list[Item | Rejected]]:
    rest = iter(items)
    while batch := list(itertools.islice(rest, size)):
        yield batch
