"""Chooses how the updates of a model are compiled, based on its operations and the device.

- `xla`: XLA compiles the loop over a block's updates, and lanes are computed together as one batch.
- `graph`: TensorFlow runs the same loop operation by operation, separately for each lane. On a CPU, XLA compiles
  gradients of convolutions inside a loop into plain code that is 20 times as slow as oneDNN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

from harness.data.blocks import SLICE_ROWS
from harness.training.model_trace import ModelTrace
from harness.training.xla import compiled

SLICE_BYTES = 256 << 20
"""Maximum bytes of the inputs and activations of one slice.

It must not depend on the device's memory, because results would then depend on it too.
"""

GPU_SLICE_ROWS = 16384
"""Rows per slice on a GPU, where longer slices mean fewer kernels to start; docs/gpu.md has the measurements."""


@dataclass(frozen=True)
class Strategy:
    """How a model's updates are compiled and divided into slices.

    Attributes:
        compiler: What compiles the loops.
        is_unrolled: Whether the lanes of a tile are computed one after another instead of as one batch.
        slice_rows: Rows computed at once, a power of two; longer chunks are summed slice by slice.
    """

    compiler: Literal["xla", "graph"]
    is_unrolled: bool
    slice_rows: int

    @property
    def evaluated_rows(self) -> int:
        """Rows of the holdout computed at once; few of them, so that an evaluation needs less memory than an update."""
        return min(self.slice_rows, SLICE_ROWS)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, compiled once for each combination of argument shapes; all arguments are tensors."""
        return compiled(function) if self.compiler == "xla" else tf.function(function, autograph=False)


def choose_strategy(trace: ModelTrace, device: str, *, is_image: bool, is_random: bool) -> Strategy:
    """Choose the strategy for a model.

    Args:
        trace: The trace of the model.
        device: TensorFlow's name for the device.
        is_image: Whether a row is an image.
        is_random: Whether layers draw random numbers from their lane's own variable, which tf.vectorized_map cannot
            batch.
    """
    on_cpu = "GPU" not in device
    if not (is_image or trace.has_convolutions):
        return Strategy("xla", is_random, SLICE_ROWS if on_cpu else GPU_SLICE_ROWS)
    is_graph = trace.needs_tensorflow or (on_cpu and trace.has_convolutions)
    # Batching the convolutions of several lanes gives grouped convolutions, whose gradients are slow.
    return Strategy("graph" if is_graph else "xla", is_random or trace.has_convolutions, slice_rows(trace))


def slice_rows(trace: ModelTrace) -> int:
    """Return the largest power of two, up to `SLICE_ROWS`, of rows that fit into `SLICE_BYTES` with activations."""
    fitting = int(min(SLICE_BYTES / max(trace.row_bytes, 1), SLICE_ROWS))
    return 1 << max(fitting, 1).bit_length() - 1
