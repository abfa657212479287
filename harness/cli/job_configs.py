"""Converts jobs to checked configurations."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from harness.cli.compose import Job
from harness.cli.hydra_errors import check_keys
from harness.config import Config, DataConfig
from harness.errors import ConfigError, require

if TYPE_CHECKING:
    from harness.sweep.display import Display

_NEED_PATH = ("csv", "images", "king_county")
"""The files in `conf/data` without built-in data; `path: ???` there would not replace the dataclass's default."""

_EXAMPLES = {"data.path": "FILE", "data.features": "[NAME,NAME]", "data.target": "NAME"}
"""What to write for keys without a value, in the order in which they are listed."""


def to_config(job: Job) -> Config:
    """Convert a job's configuration to the library's dataclass, and check it."""
    try:
        settings = job.settings()
    except MissingMandatoryValue as error:
        raise ConfigError(_describe_missing(job)) from error
    except ConfigError as error:
        # A wrong path comes first, since it may be why the other settings do not suit the data.
        if fault := _describe_missing(job) if _lacks_path(job) else _fault_of_source(job):
            raise ConfigError(f"{fault} {error}") from error
        raise
    check_keys(settings)
    if _lacks_path(job):
        raise ConfigError(_describe_missing(job))
    return settings


def _lacks_path(job: Job) -> bool:
    return job.choices.get("data") in _NEED_PATH and job.config.data.path is None


def _describe_missing(job: Job) -> str:
    """Return sentences about all keys without a value, which suggest columns if the file can be read."""
    from harness.data.profiling.remedies import words_to_start

    missing = OmegaConf.missing_keys(job.config) | ({"data.path"} if _lacks_path(job) else set())
    keys = [*(key for key in _EXAMPLES if key in missing), *sorted(missing - _EXAMPLES.keys())]
    names = f"{', '.join(keys[:-1])} and {keys[-1]} are" if len(keys) > 1 else f"{keys[0]} is"
    path, target, origin = (_given(job, f"data.{name}") for name in ("path", "target", "origin"))
    if path and "data.features" in keys and (words := words_to_start(path, target)):
        return f"{names} not set. For example, add {words}."
    source = f" Get the file from {origin}." if origin and "data.path" in keys else ""
    help_ = " `harness data describe FILE` lists the columns." if missing & {"data.features", "data.target"} else ""
    values = _EXAMPLES | ({"data.path": "FOLDER"} if job.choices.get("data") == "images" else {})
    examples = " ".join(shlex.quote(f"{key}={values.get(key, 'VALUE')}") for key in keys)
    fault = f"{_fault_of_source(job)} " if path else ""
    return f"{fault}{names} not set.{source} Add {examples}.{help_}".lstrip()


def _given(job: Job, key: str) -> Any:
    """Return a key's value as a plain object; None if it has none."""
    value = OmegaConf.select(job.config, key)
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _fault_of_source(job: Job) -> str:
    """Return a sentence if the data is not what `data.path` says; empty if it is, or if its own keys are invalid."""
    from harness.data.profiling.first_rows import check_source
    from harness.data.row_input import local_addresses

    data: Any = None
    try:
        with contextlib.suppress(MissingMandatoryValue):
            data = _given(job, "data")
    except (ConfigError, OmegaConfBaseException):
        return ""
    try:
        check_source(data) if data else local_addresses(_given(job, "data.path"))
    except ConfigError as error:
        return f"{str(error).rstrip('.')}."
    except OSError:  # Reading the data reports it.
        return ""
    return ""


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
