"""YAML of configurations that share most of what they say: each part of it is written once.

To write YAML takes pure Python, which was half of what a job of a sweep costs.
"""

from __future__ import annotations

from typing import Any

import yaml
from omegaconf._utils import get_omega_conf_dumper

Written = dict[tuple[str, ...], str]
"""Lines by where they stand and what they say, in the terms of `repr`, which tells 1 from True."""


def in_yaml(values: Any, written: Written) -> str:
    """Return what `OmegaConf.to_yaml` does of a configuration of these values.

    Args:
        values: As `OmegaConf.to_container` returns them: plain, none of them in two places, enums by their names.
        written: Parts of earlier ones; those of this one are added.
    """
    if not isinstance(values, dict) or not values:
        return _dumped(values)
    return "".join(_part((), key, value, written) for key, value in values.items())


def _part(path: tuple[Any, ...], key: Any, value: Any, written: Written) -> str:
    """Return the lines of a key below the keys of `path`, which have a line each."""
    if isinstance(value, dict) and value and (title := _title(path, key, written)):
        return title + "".join(_part((*path, key), name, below, written) for name, below in value.items())
    told = repr(path), repr(key), repr(value)
    if told not in written:
        written[told] = _below(path, {key: value})
    return written[told]


def _title(path: tuple[Any, ...], key: Any, written: Written) -> str:
    """Return the line of a key that has mappings below; nothing if it is of the kind that YAML writes as `? key`."""
    told = repr(path), repr(key)
    if told not in written:
        line, _, rest = _below(path, {key: {"_": 0}}).partition("\n")
        is_a_line = rest.count("\n") == 1 and not line.lstrip().startswith("? ")
        written[told] = f"{line}\n" if is_a_line else ""
    return written[told]


def _below(path: tuple[Any, ...], values: dict[Any, Any]) -> str:
    """Return the lines of `values` as they stand below the keys of `path`: where they wrap depends on how deep."""
    for key in reversed(path):
        values = {key: values}
    return _dumped(values).split("\n", len(path))[-1]


def _dumped(values: Any) -> str:
    dumper = get_omega_conf_dumper()
    return yaml.dump(values, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=dumper)
