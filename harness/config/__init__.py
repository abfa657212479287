"""A run's configuration as typed dataclasses that check their values.

In: values composed from `conf/` or recorded with a run. Out: `Config`. Imports no other package of the harness.
"""

from harness.config.any_data import AnyData, Order, Scaling
from harness.config.data import DataConfig, Missing
from harness.config.images import Fit, ImagesConfig, LabelType, Unreadable
from harness.config.kinds import DATA_KINDS, kind_of
from harness.config.objective import Loss, ObjectiveConfig
from harness.config.schema import (
    DEFAULT_EXPERIMENT,
    FULL,
    Config,
    Device,
    FullSample,
    LogModel,
    Precision,
    RuntimeConfig,
    TrackingConfig,
    flatten,
)
from harness.config.search import Sampler, SearchConfig
from harness.config.stopping import Restore, StoppingConfig

__all__ = [
    "DATA_KINDS",
    "DEFAULT_EXPERIMENT",
    "FULL",
    "AnyData",
    "Config",
    "DataConfig",
    "Device",
    "Fit",
    "FullSample",
    "ImagesConfig",
    "LabelType",
    "LogModel",
    "Loss",
    "Missing",
    "ObjectiveConfig",
    "Order",
    "Precision",
    "Restore",
    "RuntimeConfig",
    "Sampler",
    "Scaling",
    "SearchConfig",
    "StoppingConfig",
    "TrackingConfig",
    "Unreadable",
    "flatten",
    "kind_of",
]
