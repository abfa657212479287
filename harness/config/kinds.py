"""The kinds of data, which determine the keys of `data.*`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from harness.config.any_data import AnyData
from harness.config.data import DataConfig
from harness.config.images import ImagesConfig

DATA_KINDS: dict[str, type[AnyData]] = {"rows": DataConfig, "images": ImagesConfig}
"""Keyed by the name used in the files of `conf/data`; `rows` is the default."""


def kind_of(values: Mapping[str, Any]) -> type[AnyData]:
    """Return the kind of data that recorded `data.*` values describe: the first that has all their keys, else rows."""
    fitting = (kind for kind in DATA_KINDS.values() if {*values} <= {each.name for each in fields(kind)})
    return next(fitting, DataConfig)
