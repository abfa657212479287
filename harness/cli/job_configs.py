"""Converts jobs to checked configurations."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

from harness.cli.compose import Job
from harness.cli.hydra_errors import check_keys
from harness.config import Config, DataConfig
from harness.errors import ConfigError, require

if TYPE_CHECKING:
    from harness.sweep.display import Display

_COLUMNS = ("data.features", "data.target")


def to_config(job: Job) -> Config:
    """Convert a job's configuration to the library's dataclass, and check it."""
    try:
        settings = job.settings()
    except MissingMandatoryValue as error:
        origin = OmegaConf.select(job.config, "data.origin") if error.full_key == "data.path" else None
        source = f" Get the file from {origin}." if origin else ""
        help_ = " `harness data describe FILE` lists the columns." if error.full_key in _COLUMNS else ""
        raise ConfigError(f"{error.full_key} is not set.{source} Add {error.full_key}=VALUE.{help_}") from error
    check_keys(settings)
    return settings


def with_names(configs: Sequence[Config], display: Callable[[], Display]) -> list[Config]:
    """Replace patterns in `data.features` with column names, reading the names of each file once."""
    known: dict[str, Any] = {}
    found = []
    for config in configs:
        data = config.data
        if isinstance(data, DataConfig) and data.has_patterns:
            from harness.data.features import name_features

            key = repr(data)
            if key not in known:
                shown = display()
                known[key] = name_features(data, Path(config.runtime.cache), shown.reading, shown.say)
                shown.clear()
            config = dataclasses.replace(config, data=known[key])
        found.append(config)
    return found


def addresses(config: Config) -> list[str]:
    """Return the addresses of a configuration's store and data."""
    path = config.data.path
    return [each for each in (config.tracking.uri, *(path if isinstance(path, list) else [path])) if each]


def check_folder(key: str, folder: str) -> None:
    """Raise `ConfigError` unless a folder exists or can be made, and can be written to."""
    path = Path(folder).absolute()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    require(existing.is_dir() and os.access(existing, os.W_OK), f"{key}: cannot write to {path}")
