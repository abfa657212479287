"""Chooses how many lanes one call updates, depending on the device and the model.

The length of a tile affects the last bits of results, so it must not depend on anything that can change between two
attempts at the same scan. On a CPU, it does not depend on the other lanes either, although longer tiles would be faster
for many lanes. `harness tune` may replace it; otherwise, only a lack of memory makes tiles smaller than chosen here:
see `harness.training.scan_memory` and `harness.training.calls`.
"""

from __future__ import annotations

from harness.training.lanes import Stack
from harness.training.update_memory import UpdateMemory

SMALL_TILE, SMALL_WEIGHTS = 8, 1000
"""On a CPU, models with at most this many weights share calls, because a call's overhead exceeds their arithmetic."""

LONGEST, LONGEST_UNROLLED = 1024, 8
"""Maximum number of unrolled lanes on a GPU; each is compiled separately, which takes 16 s for eight small CNNs."""

LONGEST_EVER = 10_000
"""The longest tile that users can choose."""

STEP = 8
"""Larger lengths are multiples of this."""

MEMORY_SHARE = 0.5
"""Maximum share of the memory for the lanes of one call; blocks and XLA's temporary buffers need the rest."""


def tile_length(stack: Stack, *, device: str, longest: int, lanes: int) -> int:
    """Return the number of lanes that one call updates.

    On a GPU, starting a call's kernels takes longer than the arithmetic of small models, so all lanes share a call if
    memory allows; docs/gpu.md has the measurements.

    Args:
        stack: The lanes' stack.
        device: TensorFlow's name for the device.
        longest: The longest tile that fits; see `longest_tile`.
        lanes: Number of lanes in the stack's largest cohort.
    """
    if "GPU" not in device:
        is_small = stack.model.count_params() <= SMALL_WEIGHTS and not stack.trace.has_convolutions
        return SMALL_TILE if is_small else 1
    return _spread(lanes, -(-lanes // longest), longest)


def longest_tile(stack: Stack, memory: UpdateMemory, device_bytes: int, step_rows: int) -> int:
    """Return the largest number of lanes that a call can update.

    Args:
        stack: The lanes' stack.
        memory: The memory that an update needs.
        device_bytes: Usable memory of the device; 0 if unknown.
        step_rows: Maximum number of rows computed at once.
    """
    most = LONGEST_UNROLLED if stack.strategy.is_unrolled else LONGEST
    if device_bytes:
        most = max(min(most, int(MEMORY_SHARE * device_bytes / memory.of_rows(step_rows))), 1)
    return most


def candidates(lanes: int, longest: int) -> list[int]:
    """Return lengths of tiles to try, in ascending order: for all lanes in one call, in two, in four, and so on."""
    calls = (1 << power for power in range(lanes.bit_length() + 1))
    return sorted({_spread(lanes, each, longest) for each in calls})


def _spread(lanes: int, calls: int, longest: int) -> int:
    """Return the length of tiles over which lanes are spread evenly."""
    length = -(-lanes // calls)
    return min(length if length <= STEP else -(-length // STEP) * STEP, longest)


def smaller(length: int) -> int:
    """Return the length of the tiles that replace one of `length` if memory runs out: its largest proper divisor."""
    return next(found for found in range(length // 2, 0, -1) if length % found == 0)
