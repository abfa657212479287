"""A run's configuration as typed dataclasses that check their values.

In: values composed from `conf/` or recorded with a run. Out: `Config`. Imports no other package of the harness.
"""

from harness.config.data import DataConfig, Missing, Order, Scaling
from harness.config.objective import Loss, ObjectiveConfig
from harness.config.schema import (
    DEFAULT_EXPERIMENT,
    FULL,
    Config,
    Device,
    FullSample,
    LogModel,
    RuntimeConfig,
    TrackingConfig,
    flatten,
)

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
    "ObjectiveConfig",
    "Order",
    "RuntimeConfig",
    "Scaling",
    "TrackingConfig",
    "flatten",
]
