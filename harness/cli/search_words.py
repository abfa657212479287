"""Reads a search from a sweep's overrides; a sweep without intervals is a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf

from harness.config.search import SearchConfig
from harness.errors import ConfigError, require
from harness.sweep.search.search import Search
from harness.sweep.search.space import Axis, Choices, Interval, Space, number_text


def search_of(loader: ConfigLoader, words: Sequence[str], config: DictConfig) -> Search | None:
    """Return the search that a sweep's overrides ask for, or None if they make a grid.

    Args:
        loader: Hydra's configuration loader.
        words: The overrides.
        config: The configuration that they override.

    Raises:
        ConfigError: An interval is not usable, or a grid has settings of a search.
    """
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    settings = [str(each.input_line) for each in overrides if _is_setting(each)]
    swept = [each for each in overrides if not _is_setting(each)]
    if not any(each.is_interval_sweep() for each in swept):
        grid = "this is a grid, which trains all combinations. Search an interval instead, such as"
        require(not settings, f"{', '.join(settings)}: {grid} learning_rate=tag(log,interval(1e-4,1)).")
        return None
    listed = [str(each.input_line) for each in overrides if _is_setting(each) and each.is_sweep_override()]
    require(not listed, f"{', '.join(listed)}: settings of a search take one value.")
    axes = {each.get_key_element(): _axis(each, config) for each in swept}
    found: Any = OmegaConf.to_object(config.search)
    assert isinstance(found, SearchConfig)
    seed = _largest(axes.get("seed"), config.seed)
    return Search(Space(tuple(axes.values())), found, _largest(axes.get("epochs"), config.epochs), seed)


def _is_setting(override: Override) -> bool:
    return override.key_or_group == "search" or override.key_or_group.startswith("search.")


def _largest(axis: Axis | None, value: int) -> int:
    """Return the largest whole number on an axis, or `value` if there is none; other values are rejected later."""
    if isinstance(axis, Interval):
        return int(axis.high)
    return max((int(each) for each in axis.values if each.isdecimal()), default=value) if axis else value


def _axis(override: Override, config: DictConfig) -> Axis:
    key, value = override.get_key_element(), override.value()
    if not isinstance(value, IntervalSweep):
        listed = override.sweep_string_iterator() if override.is_sweep_override() else None
        return Choices(key, tuple(listed or [override.get_value_element_as_str()]))
    low, high = value.start, value.end
    if low is None or high is None:
        raise ConfigError(f"{override.input_line}: an interval needs two endpoints, as in interval(0.001,1).")
    whole = isinstance(low, int) and isinstance(high, int)
    if key == "chunksize":
        raise ConfigError(
            f"{override.input_line}: list the chunk sizes to try, as in chunksize=full,1000,100. Each needs its own "
            "compiled loop, and gets its own trials."
        )
    before = OmegaConf.select(config, key.lstrip("+"))
    is_whole_key = isinstance(before, int) and not isinstance(before, bool)
    fits = whole or not is_whole_key or not (float(low).is_integer() and float(high).is_integer())
    if not fits or (is_whole_key and not whole and "." not in key):
        log = "tag(log," if "log" in value.tags else ""
        inside = f"{log}interval({number_text(low)},{number_text(high)}){')' if log else ''}"
        raise ConfigError(f"{override.input_line}: {key} is a whole number. Write {key}=int({inside}).")
    return Interval(key, low, high, "log" in value.tags, whole)
