"""Identifies everything besides a run's signature that can change the last bits of its results on one machine."""

from __future__ import annotations

import keras
import tensorflow as tf

from harness.config import RuntimeConfig
from harness.sweep.identity import hash_json

ROUNDING = "rounding"
"""The tag that holds a run's `rounding`."""


def rounding(runtime: RuntimeConfig, device: str) -> str:
    """Hash the versions, the device and the settings that can affect rounding."""
    settings = (getattr(runtime, name) for name in ("lane_tile", "gram", "threads", "deterministic"))
    return hash_json([tf.__version__, keras.__version__, device, *settings])
