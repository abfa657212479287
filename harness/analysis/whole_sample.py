"""Compares the memory that a plain update of the whole sample would need with the device's memory."""

from __future__ import annotations

from collections.abc import Sequence

from harness.formatting import data_size
from harness.tracking.ranking import Run, has

NEEDED, HERE, DEVICE = "memory/update_mb", "memory/scan_mb", "memory/device_mb"

LEAST_SHARE = 0.01
"""Minimum share of the device's memory to report."""


def whole_sample(runs: Sequence[Run]) -> list[str]:
    """Return a sentence about the full-sample run that needs the most memory, if it needs much."""
    known = [run for run in runs if run["sample"] == "full" and all(has(run, key) for key in (NEEDED, HERE, DEVICE))]
    if not known:
        return []
    run = max(known, key=lambda run: run[NEEDED])
    needed, device, here = run[NEEDED], run[DEVICE], data_size(1e6 * run[HERE])
    if needed < LEAST_SHARE * device:
        return []
    update = f"The whole sample in one update would take {data_size(1e6 * needed)}"
    if needed > device:
        return [f"{update}, more than the {data_size(1e6 * device)} of this device. Here, the scan took {here}."]
    return [f"{update} of this device's {data_size(1e6 * device)}. Here, the scan took {here}."]
