"""A run's recorded configuration: what a store gives back, as a configuration to train with here.

A store may be shared, so nothing in it is trusted: only plain values are taken, and none that say where files are
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config import Config, DataConfig
from harness.errors import ConfigError, require

RESTORED = {"lane_tile": None, "gram": False, "threads": 1, "deterministic": False}
"""What of `runtime` can change a bit, besides the device, and what it was before it could be set."""


def config_of(
    settings: object, *, path: object = None, runtime: Mapping[str, Any], tracking: Mapping[str, Any]
) -> Config:
    """Return a recorded configuration, checked.

    Args:
        settings: The values of a run's `config.yaml`.
        path: Where the data lies now, if not where they did.
        runtime: What goes for `runtime`, besides what of the recorded can change a bit.
        tracking: What goes for `tracking`.

    Raises:
        ConfigError: It is no configuration, or not a plain one.
    """
    known = isinstance(settings, Mapping) and all(isinstance(settings.get(key), Mapping) for key in ("data", "runtime"))
    require(known, "config.yaml expected a run's configuration", f"{str(settings)[:80]!r}")
    values: dict[str, Any] = dict(settings)  # type: ignore[call-overload]
    values["runtime"] = {key: values["runtime"].get(key, before) for key, before in RESTORED.items()} | dict(runtime)
    values["tracking"] = dict(tracking)
    if path is not None:
        values["data"] = {**values["data"], "path": path}
    return _made(Config, values)


def data_of(settings: Mapping[str, Any]) -> DataConfig:
    """Return what a recorded configuration says of its data, checked; raises as `config_of` does."""
    return _made(DataConfig, settings.get("data"))


def _made(kind: type, values: object) -> Any:
    require(isinstance(values, Mapping), "config.yaml expected a run's configuration", f"{str(values)[:80]!r}")
    # OmegaConf would resolve it, and so would read the environment for whoever wrote it.
    strange = [text for text in _texts(values) if "${" in text or text == "???"]
    require(not strange, "config.yaml expected plain values", ", ".join(strange[:3]))
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.create(values)))  # type: ignore[call-overload]
    except OmegaConfBaseException as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ConfigError(f"config.yaml expected a configuration of this version. Received: {reason}.") from error


def _texts(value: object) -> list[str]:
    """Return all text in nested values, keys too."""
    if isinstance(value, Mapping):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []
