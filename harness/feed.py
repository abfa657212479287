"""A part's rows as tensors on a device, or as what is left of them to know, pass after pass."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from concurrent.futures import Executor

import numpy as np
import tensorflow as tf

from harness.ahead import prefetch
from harness.blocks import Block, Blocks
from harness.chunks import Rows
from harness.gram import GramChunks
from harness.loops import Loop

SPAN_BLOCKS = 16
"""Blocks whose matrices are handed on together where they are all that is wanted of the rows."""

KEPT_BYTES = 32 << 20
"""What the matrices of a part may take, to be kept from its first pass on."""


class Feed:
    """Blocks, read ahead; where all loops want matrices only, and those have room, all rows are read just once."""

    def __init__(self, blocks: Blocks, device: str, pool: Executor, loops: Collection[Loop] = ()) -> None:
        """Read nothing yet.

        Args:
            blocks: Of the part.
            device: TensorFlow's name.
            pool: Makes matrices.
            loops: Those that will be given the rows.
        """
        self._blocks, self._device, self._pool = blocks, device, pool
        self._grams = {loop.chunk: loop for loop in loops if isinstance(loop, GramChunks)}
        self._is_lean = bool(loops) and all(isinstance(loop, GramChunks) for loop in loops)
        length = max(blocks.block_rows, 1)
        self._span = length * (min(SPAN_BLOCKS, -(-blocks.rows // length)) if self._is_lean else 1)
        self._capacity = blocks.overlap + self._span
        self._kept: dict[int, Rows] = {}

    def read(self, epoch: int, begin: int = 0) -> Generator[Rows]:
        """Read the part once, from row `begin`, where a span of an earlier pass has ended."""
        kept = [self._kept.get(start) for start in range(begin, self._blocks.rows, self._span)]
        if all(kept):
            yield from filter(None, kept)
        elif self._blocks.rows > self._blocks.block_rows:
            yield from prefetch(self._spans(epoch, begin))
        else:
            yield from self._spans(epoch, begin)

    def empty(self) -> Rows:
        """Return rows of the shape of all others, all zero, with the making of matrices compiled."""
        blocks = self._blocks
        x, y = (np.zeros((blocks.capacity, width), np.float32) for width in (blocks.features, 1))
        return self._joined([self._rows(Block(0, 0, x, y))])

    @property
    def _keeps(self) -> bool:
        """Whether spans are kept: the only one there is, or all of them if they have room, and come again."""
        size = sum(loop.bytes() for loop in self._grams.values())
        is_one = self._blocks.rows <= self._span
        return not self._blocks.turns and (is_one or (self._is_lean and size <= KEPT_BYTES))

    def _spans(self, epoch: int, begin: int) -> Generator[Rows]:
        group = []
        for block in self._blocks.read(epoch, begin):
            group.append(self._rows(block))
            if block.stop % self._span == 0 or block.stop == self._blocks.rows:
                span = self._joined(group)
                if self._keeps:
                    self._kept[span.start] = span
                yield span
                group = []

    def _rows(self, block: Block) -> Rows:
        """Bring a block to the device, and make the matrices of its slices there."""
        blocks = self._blocks
        with tf.device(self._device):
            x, y = tf.constant(block.x), tf.constant(block.y)
        rows = Rows(block.start, block.stop, blocks.overlap, x, y, blocks.capacity)
        grams = self._pool.map(lambda loop: loop.reduce(rows), self._grams.values())
        rows = rows._replace(grams=dict(zip(self._grams, grams, strict=True)))
        return rows._replace(x=None, y=None) if self._is_lean else rows

    def _joined(self, group: Sequence[Rows]) -> Rows:
        """Make one of the rows of successive blocks."""
        grams = {chunk: np.concatenate([rows.grams[chunk] for rows in group]) for chunk in self._grams}
        return group[0]._replace(stop=group[-1].stop, capacity=self._capacity, grams=grams)
