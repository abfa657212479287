"""A part's rows as tensors on a device, or as what is left of them to know, pass after pass."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Executor

import numpy as np
import tensorflow as tf

from harness.data.blocks import Block, Blocks
from harness.runtime.prefetch import prefetch
from harness.training.gram import GramChunks
from harness.training.loops import Loop
from harness.training.slices import Grams, Rows

SPAN_BLOCKS, SPAN_BYTES = 16, 8 << 20
"""Blocks that are handed on together where only their matrices are wanted, and what those may take."""

KEPT_BYTES = 32 << 20
"""What the matrices of a part may take, to be kept from its first pass on."""

Makers = Mapping[int, GramChunks]
"""Loops that want matrices, by chunk."""


class Feed:
    """Blocks, read ahead, and the matrices of their slices, which are kept if they have room and come again."""

    def __init__(self, blocks: Blocks, device: str, pool: Executor) -> None:
        """Read nothing yet.

        Args:
            blocks: Of the part.
            device: TensorFlow's name.
            pool: Makes matrices.
        """
        self._blocks, self._device, self._pool = blocks, device, pool
        self._only: Rows | None = None  # Of a part of one block.
        self._grams: dict[int, dict[int, Grams]] = {}  # By a block's first row, and by chunk.

    def read(self, epoch: int, loops: Iterable[Loop] = (), begin: int = 0) -> Generator[Rows]:
        """Read the part once: a block at a time, or several, without their rows, if all loops want matrices only.

        Args:
            epoch: From 1.
            loops: That are given the rows.
            begin: The first row, where a block has ended in this epoch.
        """
        makers, is_lean = _makers(loops)
        if is_lean and self._has(makers):
            yield from self._joined(self._kept(makers), makers)
            return
        rows = self._read(epoch, makers, begin, with_rows=not is_lean)
        rows = self._joined(rows, makers) if is_lean else rows
        yield from prefetch(rows) if self._blocks.rows > self._blocks.block_rows else rows

    def empty(self) -> Rows:
        """Return an empty block."""
        x, y = (np.zeros((self._blocks.capacity, width), np.float32) for width in (self._blocks.features, 1))
        return self._rows(Block(0, 0, x, y))

    def _read(self, epoch: int, makers: Makers, begin: int, *, with_rows: bool) -> Generator[Rows]:
        """Read blocks, and have their matrices with them."""
        is_one = self._blocks.rows <= self._blocks.block_rows
        again = not self._blocks.turns and begin == 0
        keeps = again and (is_one or sum(loop.bytes(self._blocks.rows) for loop in makers.values()) <= KEPT_BYTES)
        for rows in [self._only] if self._only else map(self._rows, self._blocks.read(epoch, begin)):
            known = self._grams.get(rows.start, {}) if again else {}
            grams = known | self._made(rows, {chunk: loop for chunk, loop in makers.items() if chunk not in known})
            if keeps:
                self._grams[rows.start] = grams
            if with_rows and again and is_one:
                self._only = rows
            yield rows._replace(grams=grams) if with_rows else rows._replace(x=None, y=None, grams=grams)

    def _has(self, makers: Makers) -> bool:
        """Say whether all matrices are there."""
        starts = range(0, self._blocks.rows, self._blocks.block_rows)
        return all(makers.keys() <= self._grams.get(start, {}).keys() for start in starts)

    def _kept(self, makers: Makers) -> Generator[Rows]:
        blocks = self._blocks
        for start, grams in self._grams.items():
            stop = min(start + blocks.block_rows, blocks.rows)
            yield Rows(start, stop, blocks.overlap, None, None, grams)

    def _joined(self, blocks: Iterable[Rows], makers: Makers) -> Generator[Rows]:
        """Make spans of successive blocks."""
        group: list[Rows] = []
        span = self._span(makers)
        for rows in blocks:
            group.append(rows)
            if rows.stop - group[0].start >= span or rows.stop == self._blocks.rows:
                grams = {chunk: _concatenated([each.grams[chunk] for each in group]) for chunk in makers}
                yield group[0]._replace(stop=rows.stop, grams=grams)
                group = []

    def _span(self, makers: Makers) -> int:
        """Return the rows of a span."""
        blocks = self._blocks
        room = SPAN_BYTES // sum(loop.bytes(blocks.block_rows) for loop in makers.values())
        return blocks.block_rows * max(min(SPAN_BLOCKS, room, -(-blocks.rows // blocks.block_rows)), 1)

    def _rows(self, block: Block) -> Rows:
        """Bring a block to the device."""
        with tf.device(self._device):
            x, y = tf.constant(block.x), tf.constant(block.y)
        return Rows(block.start, block.stop, self._blocks.overlap, x, y)

    def _made(self, rows: Rows, makers: Makers) -> dict[int, Grams]:
        return dict(zip(makers, self._pool.map(lambda loop: loop.reduce(rows), makers.values()), strict=True))


def _makers(loops: Iterable[Loop]) -> tuple[Makers, bool]:
    """Return the loops that want matrices, and whether there are no others."""
    loops = list(loops)
    makers = {loop.chunk: loop for loop in loops if isinstance(loop, GramChunks)}
    return makers, bool(loops) and all(isinstance(loop, GramChunks) for loop in loops)


def _concatenated(grams: Sequence[Grams]) -> Grams:
    arrays = [each for each in grams if isinstance(each, np.ndarray)]
    return np.concatenate(arrays) if len(arrays) == len(grams) else next(e for e in grams if isinstance(e, Exception))
