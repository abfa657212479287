"""Times an update of a lane that has the machine to itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping

import tensorflow as tf

from harness.training.lane import Lane
from harness.training.lanes import Recipe, Stack
from harness.training.loops import make_loop
from harness.training.slices import DeviceBlock

BYTES = 16 << 20
"""Size of the block to train on; large enough for many updates per call, which makes the call's overhead negligible."""

ENOUGH_SECONDS, REPEATS = 0.02, 5


def time_lanes(
    kinds: Iterable[Mapping[int, Lane]], stacks: Mapping[Recipe, Stack], empty: DeviceBlock
) -> dict[int, float]:
    """Return the seconds per update of each lane, measured once per process for each kind.

    Args:
        kinds: Lanes by index; lanes of the same kind share chunk size and recipe.
        stacks: The stacks of their recipes.
        empty: A block without rows. Kinds that cannot be trained on it are left out.
    """
    found: dict[int, float] = {}
    for kind in filter(None, kinds):
        first = next(iter(kind.values()))
        stack = stacks[first.recipe]
        with contextlib.suppress(Exception):
            if first.chunk not in stack.alone:
                stack.alone[first.chunk] = seconds_per_update(stack, first.chunk, empty)
            found |= dict.fromkeys(kind, stack.alone[first.chunk])
    return found


def seconds_per_update(stack: Stack, chunk: int, empty: DeviceBlock) -> float:
    """Return the seconds that one update from the rows of a chunk takes in a tile of one lane.

    Gram matrices are not used, since they make updates of all chunks equally cheap. Reading and compiling are not
    counted. The shortest of several repetitions counts, since other programs disturbed it least. If a chunk is larger
    than a block and computed in slices, the time for the slices that fit is scaled up.

    Args:
        stack: The lane's model and optimizer.
        chunk: Rows per update.
        empty: A block of the lane's data; training uses rows of zeros with the same shapes and types.
    """
    assert empty.x is not None
    assert empty.y is not None
    row_bytes = sum(int(values[0].shape.num_elements() or 1) * values.dtype.size for values in (empty.x, empty.y))
    # Only whole chunks, or whole slices if a chunk has several, are computed, so at least one must fit.
    piece = chunk if chunk <= stack.whole_rows else stack.strategy.slice_rows
    most = max(BYTES // row_bytes // piece, 1) * piece
    x, y = (tf.zeros([empty.overlap + most, *values.shape[1:]], values.dtype) for values in (empty.x, empty.y))
    block = empty._replace(x=x, y=y)
    loop = make_loop(stack, chunk, chunk * max(most // chunk, 1))
    state = loop.start(stack.start([0], [1e-3]))
    loop.compile(state, block)
    unit = min(chunk, most)

    def seconds(units: int) -> float:
        some, start = block.part(0, unit * units), time.perf_counter()
        loop.advance(state, some)
        return time.perf_counter() - start

    units = 1
    while (found := seconds(units)) < ENOUGH_SECONDS and 2 * units * unit <= most:
        units *= 2
    if found < 1:
        found = min(found, *(seconds(units) for _ in range(REPEATS)))
    return found / (units * unit) * chunk
