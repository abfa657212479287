"""A run's configuration as typed dataclasses that check their values.

In: values composed from `conf/` or recorded with a run. Out: `Config`. Imports no other package of the harness.
"""

from harness.config.data import DataConfig, Missing, Order, Scaling
from harness.config.schema import (
    DEFAULT_EXPERIMENT,
    FULL,
    Config,
    Device,
    FullSample,
    LogModel,
    Loss,
    RuntimeConfig,
    TrackingConfig,
    flatten,
)
from harness.config.stopping import Restore, StoppingConfig

__all__ = [
    "DEFAULT_EXPERIMENT",
    "FULL",
    "Config",
    "DataConfig",
    "Device",
    "FullSample",
    "LogModel",
    "Loss",
    "Missing",
    "Order",
    "Restore",
    "RuntimeConfig",
    "Scaling",
    "StoppingConfig",
    "TrackingConfig",
    "flatten",
]
