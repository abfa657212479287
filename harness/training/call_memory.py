"""Estimates the memory that a call needs, by formulas fitted to measurements.

`python -m experiments.benchmark.call_memory` compares them with what a process allocates. They were fitted to
multilayer perceptrons and convolutional networks; docs/gpu.md says how well they hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.runtime.cores import cores
from harness.training.lanes import Stack
from harness.training.update_memory import UpdateMemory

GPU_WORKSPACE = 32 << 20
"""Bytes of cuBLAS's workspace, which a call on a GPU needs in addition; this is its default size on Hopper GPUs."""


@dataclass(frozen=True)
class CallMemory:
    """The memory of a call on a tile, and of the tile between calls.

    Attributes:
        state_bytes: Bytes per lane between calls: weights, other variables and the optimizer's state.
        lane_bytes: Bytes per lane that an update adds: the new state, and the gradients.
        row_bytes: Bytes per lane and row that an update adds.
        evaluated_bytes: Bytes per lane and row that an evaluation needs.
        most_lanes: Maximum number of lanes whose rows are in memory at the same time.
        most_evaluated: The same for an evaluation.
        workspace_bytes: Bytes that a call needs for any number of lanes and rows.
    """

    state_bytes: int
    lane_bytes: int
    row_bytes: float
    evaluated_bytes: float
    most_lanes: float = math.inf
    most_evaluated: float = math.inf
    workspace_bytes: int = 0

    @classmethod
    def of(cls, stack: Stack, memory: UpdateMemory, device: str, *, is_sliced: bool = False) -> CallMemory:
        """Return the estimate for a stack's calls on a device.

        If updates are sums over slices, the state has float64 sums for all weights, and an update computes new ones.

        - XLA on a CPU keeps one value per layer for the gradient, or two if the activation's derivative needs both its
          input and its output, another copy in the layout of the product for the weights' gradient, and the gradient of
          the largest. Elementwise operations are fused and computed again, so what they would keep does not count.
        - TensorFlow's own loop also keeps the inputs, and has as much again in other layouts and in gradients. It
          computes as many lanes at once as there are cores.
        - XLA on a GPU needs what a plain implementation would, and cuBLAS's workspace. It evaluates unrolled lanes one
          after another.
        """
        trace, most, most_evaluated, workspace = stack.trace, math.inf, math.inf, 0
        outputs = 4 * stack.objective.outputs
        evaluated = max(2 * trace.largest_bytes, 6 * outputs)
        if "GPU" in device:
            row, workspace = memory.row_bytes, GPU_WORKSPACE
            most_evaluated = 1 if stack.strategy.is_unrolled else math.inf
        elif stack.strategy.compiler == "xla":
            products = trace.product_bytes or trace.kept_bytes
            row = min(trace.kept_bytes, 2 * products) + products + trace.largest_bytes + 3 * outputs
        else:
            row, most = 2 * (trace.kept_bytes + trace.input_bytes), len(cores())
            most_evaluated = most
            evaluated = 1.75 * trace.largest_bytes + trace.input_bytes
        weights = sum(4 * math.prod(variable.shape) for variable in stack.model.trainable_variables)
        sums = 2 * weights if is_sliced else 0
        state, lane = stack.update_bytes - weights + sums, stack.update_bytes + 2 * sums
        return cls(state, lane, row, evaluated, most, most_evaluated, workspace)

    def of_call(self, tile: int, step_rows: int, evaluated_rows: int) -> float:
        """Return the bytes that a call adds, the larger of an update and an evaluation.

        Args:
            tile: Lanes per call.
            step_rows: Rows that an update computes at once; 0 if it uses Gram matrices.
            evaluated_rows: Rows that an evaluation computes at once.
        """
        return max(self.of_update(tile, step_rows), self.of_evaluation(tile, evaluated_rows))

    def of_update(self, tile: int, rows: int) -> float:
        """Return the bytes that an update adds."""
        return self.workspace_bytes + tile * self.lane_bytes + min(tile, self.most_lanes) * rows * self.row_bytes

    def of_evaluation(self, tile: int, rows: int) -> float:
        """Return the bytes that an evaluation adds."""
        return self.workspace_bytes + min(tile, self.most_evaluated) * rows * self.evaluated_bytes
