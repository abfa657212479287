"""A part's rows as tensors on a device, or as what is left of them to know, pass after pass."""

from __future__ import annotations

from collections.abc import Collection, Generator
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

    def __init__(self, blocks: Blocks, device: str, loops: Collection[Loop] = ()) -> None:
        """Read nothing yet.

        Args:
            blocks: Of the part.
            device: TensorFlow's name.
            loops: Those that will be given the rows.
        """
        self._blocks, self._device = blocks, device
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

    def empty(self, pool: Executor) -> Rows:
        """Return rows of the shape of all others, all zero, with the making of matrices compiled."""
        blocks = self._blocks
        x, y = (np.zeros((blocks.capacity, width), np.float32) for width in (blocks.features, 1))
        rows = self._rows(Block(0, 0, x, y))
        grams = pool.map(lambda loop: loop.reduce(rows), self._grams.values())
        return self._joined([(rows, dict(zip(self._grams, grams, strict=True)))])

    @property
    def _keeps(self) -> bool:
        """Whether spans are kept: the only one there is, or all of them if they have room, and come again."""
        spans = -(-self._blocks.rows // self._span)
        size = sum(loop.bytes(self._capacity) for loop in self._grams.values())
        return not self._blocks.turns and (spans == 1 or (self._is_lean and spans * size <= KEPT_BYTES))

    def _spans(self, epoch: int, begin: int) -> Generator[Rows]:
        group = []
        for block in self._blocks.read(epoch, begin):
            rows = self._rows(block)
            group.append((rows, {chunk: loop.reduce(rows) for chunk, loop in self._grams.items()}))
            if block.stop % self._span == 0 or block.stop == self._blocks.rows:
                span = self._joined(group)
                if self._keeps:
                    self._kept[span.start] = span
                yield span
                group = []

    def _rows(self, block: Block) -> Rows:
        with tf.device(self._device):
            return Rows(block.start, block.stop, self._blocks.overlap, tf.constant(block.x), tf.constant(block.y))

    def _joined(self, group: list[tuple[Rows, dict[int, np.ndarray]]]) -> Rows:
        """Make one of the rows of successive blocks, which are left out if they are not wanted any more."""
        (first, _), (last, _) = group[0], group[-1]
        with tf.device(self._device):
            grams = {
                chunk: loop.join([grams[chunk] for _, grams in group], self._capacity)
                for chunk, loop in self._grams.items()
            }
        span = first._replace(stop=last.stop, grams=grams)
        return span._replace(x=None, y=None) if self._is_lean else span
