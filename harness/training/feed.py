"""Supplies a part's rows in every epoch, as tensors on a device or only as Gram matrices."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from harness.data.blocks import Block, Blocks
from harness.runtime.prefetch import prefetch
from harness.training.gram import GramChunks
from harness.training.loops import Loop
from harness.training.slices import DeviceBlock, Grams, NotSent

Sources = Mapping[int, GramChunks]
"""Gram matrices by chunk."""


@dataclass(frozen=True)
class FeedLimits:
    """Limits on how many blocks a feed joins, and on what it keeps in memory.

    Attributes:
        span_blocks: Maximum number of blocks to join when only their matrices are needed.
        span_bytes: Maximum size of the matrices of joined blocks.
        kept_bytes: Maximum size of a part's matrices if they are to be kept after the first epoch.
    """

    span_blocks: int = 16
    span_bytes: int = 8 << 20
    kept_bytes: int = 32 << 20


class Feed:
    """Prefetched blocks and the Gram matrices of their slices; the matrices are kept for later epochs if they fit."""

    def __init__(self, blocks: Blocks, devices: Sequence[str], pool: Executor, limits: FeedLimits) -> None:
        self._blocks, self._pool, self._limits = blocks, pool, limits
        self._devices = devices
        self._is_one = blocks.rows <= blocks.block_rows
        self._only: DeviceBlock | None = None  # The block of a part that has only one block.
        self._grams: dict[int, dict[int, Grams]] = {}  # Keyed by the block's first row, then by chunk.

    def read(self, epoch: int, loops: Iterable[Loop] = (), begin: int = 0) -> Generator[DeviceBlock]:
        """Read the part once, block by block; if all loops need only matrices, blocks are joined and have no rows.

        Args:
            epoch: Epoch number, from 1.
            loops: The loops that receive the blocks.
            begin: The first row; it must be the end of a block of this epoch.
        """
        found = [loop.gram_source for loop in loops]
        sources = {source.chunk: source for source in found if source}
        needs_rows = not sources or None in found
        if not needs_rows and self._has_all(sources):
            yield from self._joined(self._kept(), sources)
            return
        blocks = self._read(epoch, sources, begin, with_rows=needs_rows)
        blocks = blocks if needs_rows else self._joined(blocks, sources)
        yield from blocks if self._is_one else prefetch(blocks)

    def empty(self) -> DeviceBlock:
        """Return an empty block."""
        return self._on_devices(self._blocks.empty(), everywhere=True)

    def _read(self, epoch: int, sources: Sources, begin: int, *, with_rows: bool) -> Generator[DeviceBlock]:
        """Read blocks and add their matrices."""
        repeats = not self._blocks.turns and begin == 0
        size = sum(source.bytes(self._blocks.rows) for source in sources.values())
        keeps = repeats and (self._is_one or size <= self._limits.kept_bytes)
        read = [(None, self._only)] if self._only else self._read_blocks(epoch, begin, everywhere=with_rows)
        for host, block in read:
            known = self._grams.get(block.start, {}) if repeats else {}
            missing = {chunk: each for chunk, each in sources.items() if chunk not in known}
            grams = known | self._reduced(host, block, missing)
            del host
            if keeps:
                self._grams[block.start] = grams
            if with_rows and repeats and self._is_one:
                self._only = block
            yield block._replace(grams=grams) if with_rows else block._replace(x=None, y=None, others={}, grams=grams)

    def _read_blocks(self, epoch: int, begin: int, *, everywhere: bool) -> Generator[tuple[Block, DeviceBlock]]:
        for block in self._blocks.read(epoch, begin):
            yield block, self._on_devices(block, everywhere=everywhere)

    def _has_all(self, sources: Sources) -> bool:
        starts = range(0, self._blocks.rows, self._blocks.block_rows)
        return all(sources.keys() <= self._grams.get(start, {}).keys() for start in starts)

    def _kept(self) -> Generator[DeviceBlock]:
        blocks = self._blocks
        for start, grams in self._grams.items():
            stop = min(start + blocks.block_rows, blocks.rows)
            yield DeviceBlock(start, stop, blocks.overlap, None, None, grams)

    def _joined(self, blocks: Iterable[DeviceBlock], sources: Sources) -> Generator[DeviceBlock]:
        """Join consecutive blocks."""
        group: list[DeviceBlock] = []
        span = self._span(sources)
        for block in blocks:
            group.append(block)
            if block.stop - group[0].start >= span or block.stop == self._blocks.rows:
                grams = {chunk: _concatenated([each.grams[chunk] for each in group]) for chunk in sources}
                yield group[0]._replace(stop=block.stop, grams=grams)
                group = []

    def _span(self, sources: Sources) -> int:
        """Return the number of rows in joined blocks."""
        blocks = self._blocks
        fitting = self._limits.span_bytes // sum(source.bytes(blocks.block_rows) for source in sources.values())
        return blocks.block_rows * max(min(self._limits.span_blocks, fitting, -(-blocks.rows // blocks.block_rows)), 1)

    def _on_devices(self, block: Block, *, everywhere: bool) -> DeviceBlock:
        """Send a block to all devices or, if not `everywhere`, to the first that accepts it; the block keeps errors."""
        x = y = None
        others: dict[str, tuple[tf.Tensor, tf.Tensor] | Exception] = {}
        for device in self._devices:
            try:
                sent = _sent(block, device)
            except Exception as error:
                others[device] = error
                continue
            if device == self._devices[0]:
                x, y = sent
            else:
                others[device] = sent
            if not everywhere:
                break
        return DeviceBlock(block.start, block.stop, self._blocks.overlap, x, y, others=others)

    def _reduced(self, host: Block | None, block: DeviceBlock, sources: Sources) -> dict[int, Grams]:
        """Return the matrices of a block's slices, from the first device that can compute them.

        `host` holds the rows for devices to which they have not been sent.
        """

        def reduce(source: GramChunks) -> Grams:
            found: Grams = NotSent(f"{self._devices[0]} has no rows")
            for device in self._devices:
                try:
                    with tf.device(device):
                        if host and device not in (self._devices[0], *block.others):
                            x, y = _sent(host, device)
                            found = source.reduce(block._replace(x=x, y=y))
                        else:
                            found = source.reduce(block.on(device))
                except Exception as error:
                    found = error
                if not isinstance(found, Exception):
                    break
            return found

        return dict(zip(sources, self._pool.map(reduce, sources.values()), strict=True))


def _sent(block: Block, device: str) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.device(device):
        return tf.constant(block.x), tf.constant(block.y)


def _concatenated(grams: Sequence[Grams]) -> Grams:
    """Return the matrices of consecutive blocks as one array, or the first error among them."""
    arrays = []
    for each in grams:
        if isinstance(each, Exception):
            return each
        arrays.append(each)
    return np.concatenate(arrays)
