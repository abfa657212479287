"""YAML of configurations that share most of what they say: each part of it is written once.

To write YAML takes pure Python, and would be most of what a job of a sweep costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from omegaconf._utils import get_omega_conf_dumper


def in_yaml(values: Any, written: dict[tuple[Any, ...], str]) -> str:
    """Return what `OmegaConf.to_yaml` does of a configuration of these values.

    Args:
        values: Plain ones, enums by their names.
        written: Parts of earlier ones, by place and value; those of this one are added.
    """
    if not isinstance(values, dict) or not values:
        return _dumped(values)
    return "".join(_part((), key, value, written) for key, value in values.items())


def _part(path: Sequence[Any], key: Any, value: Any, written: dict[tuple[Any, ...], str]) -> str:
    """Return the lines of a key below the keys of `path`."""
    told = (*path, key, repr(value))
    if told not in written:
        if isinstance(value, dict) and value:
            title = _below(path, {key: {"": 0}}).partition("\n")[0]
            lines = [f"{title}\n", *(_part((*path, key), name, below, written) for name, below in value.items())]
            written[told] = "".join(lines)
        else:
            written[told] = _below(path, {key: value})
    return written[told]


def _below(path: Sequence[Any], values: dict[Any, Any]) -> str:
    """Return the lines of `values` as they stand below the keys of `path`: where they wrap depends on how deep."""
    for key in reversed(path):
        values = {key: values}
    return _dumped(values).split("\n", len(path))[-1]


def _dumped(values: Any) -> str:
    dumper = get_omega_conf_dumper()
    return yaml.dump(values, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=dumper)
