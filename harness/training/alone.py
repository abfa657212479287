"""Times an update of a lane that has the machine to itself."""

from __future__ import annotations

import time

import tensorflow as tf

from harness.training.lanes import Stack
from harness.training.loops import make_loop
from harness.training.slices import DeviceBlock

BYTES = 16 << 20
"""Size of the block that is trained on, so that a call makes many updates and the cost of calling does not count."""

ENOUGH_SECONDS, REPEATS = 0.02, 5


def seconds_per_update(stack: Stack, chunk: int, empty: DeviceBlock) -> float:
    """Return the seconds that an update from the rows of a chunk takes in a tile of one lane.

    Gram matrices are not used, since they make updates of all chunks equally cheap. Reading and compiling are not
    counted. Of several repetitions the shortest counts, which other programs have disturbed least. If a chunk is
    larger than a block, the time of as many rows as fit is scaled.

    Args:
        stack: The lane's model and optimizer.
        chunk: Rows per update.
        empty: A block of the lane's data; rows of zeros with the same shapes and types are trained on.
    """
    assert empty.x is not None
    assert empty.y is not None
    row_bytes = sum(int(values[0].shape.num_elements() or 1) * values.dtype.size for values in (empty.x, empty.y))
    most = max(BYTES // row_bytes, 1)
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
