"""Turns a run's recorded configuration back into one that can be trained.

Other people may write to the store, so its contents are not trusted: only plain values are accepted, and none that
determine where files are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config import AnyData, Config, DataConfig, ImagesConfig, kind_of
from harness.errors import ConfigError, require

RESTORED = {"precision": "float32", "lane_tile": None, "gram": False, "threads": 1, "deterministic": False}
"""Keys of `runtime` that can affect results, with the values that applied before the keys existed."""


def config_of(
    settings: object, *, path: object = None, runtime: Mapping[str, Any], tracking: Mapping[str, Any]
) -> Config:
    """Check a recorded configuration and return it.

    Args:
        settings: The values of a run's `config.yaml`.
        path: The current location of the data, if it has moved.
        runtime: Values for `runtime`; only keys that can affect results are taken from the record.
        tracking: Values for `tracking`.

    Raises:
        ConfigError: `settings` is not a plain configuration.
    """
    known = isinstance(settings, Mapping) and all(isinstance(settings.get(key), Mapping) for key in ("data", "runtime"))
    require(known, _not_a_configuration(settings))
    values: dict[str, Any] = dict(settings)  # type: ignore[call-overload]
    values["runtime"] = {key: values["runtime"].get(key, before) for key, before in RESTORED.items()} | dict(runtime)
    values["tracking"] = dict(tracking)
    if path is not None:
        values["data"] = {**values["data"], **_moved(values["data"], path)}
    return _structured(schema_of(values["data"]), values)


def _moved(data: Mapping[str, Any], path: object) -> dict[str, object]:
    """Return the keys that give the data's current location: for images, one key for each recorded path."""
    if kind_of(data) is not ImagesConfig or not isinstance(path, list):
        return {"path": path}
    keys = ["path", *(key for key in ("labels", "holdout_path") if data.get(key))]
    embed = data.get("embed")
    names = [*keys, *(["embed.weights"] if embed else [])]
    require(len(path) <= len(names), f"--data: the run has only {len(names)} data paths ({', '.join(names)}).")
    moved = dict(zip(keys, path, strict=False))
    return {**moved, "embed": {**embed, "weights": path[-1]}} if embed and len(path) == len(names) else moved


def data_of(settings: Mapping[str, Any]) -> AnyData:
    """Check the data section of a recorded configuration and return it; raises the same errors as `config_of`."""
    values = settings.get("data")
    kind = kind_of(values) if isinstance(values, Mapping) else DataConfig
    return _structured(OmegaConf.structured(kind), values)


def schema_of(data: Mapping[str, Any]) -> Any:
    """Return the schema of a configuration with these values of `data.*`."""
    schema: Any = OmegaConf.structured(Config)
    schema.data = OmegaConf.structured(kind_of(data))
    return schema


def _structured(schema: Any, values: object) -> Any:
    require(isinstance(values, Mapping), _not_a_configuration(values))
    # OmegaConf would resolve interpolations, so the author of a record could read environment variables.
    unsafe = [text for text in _texts(values) if "${" in text or text == "???"]
    require(not unsafe, f"config.yaml contains values that are not plain: {', '.join(unsafe[:3])}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.create(values)))  # type: ignore[call-overload]
    except OmegaConfBaseException as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ConfigError(f"config.yaml is not compatible with this version of the harness: {reason}.") from error


def _not_a_configuration(values: object) -> str:
    return f"config.yaml does not contain a run's configuration: {str(values)[:80]!r}"


def _texts(value: object) -> list[str]:
    """Return all text in nested values, including keys."""
    if isinstance(value, Mapping):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []
