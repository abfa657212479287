"""Computes the memory that one update needs in a plain implementation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.training.lanes import Stack


@dataclass(frozen=True)
class UpdateMemory:
    """The memory that one update of a lane needs in a plain implementation, which computes a whole chunk at once.

    Attributes:
        row_bytes: Bytes per row: inputs and targets as float32, and all activations kept for the gradient.
        lane_bytes: Bytes independent of the number of rows: weights, their gradients, and the optimizer's state.
    """

    row_bytes: float
    lane_bytes: int

    @classmethod
    def of(cls, stack: Stack, targets: int) -> UpdateMemory:
        """Return the memory for updates of a stack's lanes, for rows with this number of targets."""
        values = math.prod(stack.encode.input_shape) + targets
        return cls(4 * values + stack.trace.activation_bytes, stack.update_bytes)

    def of_rows(self, rows: int) -> float:
        """Return the bytes that an update of this many rows needs."""
        return rows * self.row_bytes + self.lane_bytes
