"""The sentence about whether the whole sample would fit in a single update."""

from __future__ import annotations

import math

import pytest

from harness.analysis.whole_sample import whole_sample


@pytest.mark.parametrize(
    ("needed", "sentence"),
    [
        (
            20_000.0,
            "The whole sample in one update would take 20 GB, more than the 8 GB of this device. Here, the scan took "
            "400 MB.",
        ),
        (1000.0, "The whole sample in one update would take 1 GB of this device's 8 GB. Here, the scan took 400 MB."),
        (79.0, ""),
        (math.nan, ""),
    ],
)
def test_the_whole_sample_is_compared_with_the_device(needed: float, sentence: str) -> None:
    def run(sample: str, needed: float) -> dict:
        return {"sample": sample, "memory/update_mb": needed, "memory/scan_mb": 400.0, "memory/device_mb": 8000.0}

    assert whole_sample([run("batch", 9e9), run("full", 10.0), run("full", needed)]) == ([sentence] if sentence else [])
    assert whole_sample([{"sample": "full", "memory/update_mb": 9e9}]) == []
