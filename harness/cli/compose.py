"""Composes configurations from overrides: locates `conf`, and composes the jobs of a sweep.

Jobs that choose the same groups and set the same keys differ only in plain values, which no defaults list can depend
on. So Hydra composes only the first of them, and the others are copies with their own values.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict

from harness.config import DATA_KINDS, DEFAULT_EXPERIMENT, Config
from harness.errors import require
from harness.runtime.secrets import masked

_PACKAGE = Path(__file__).resolve().parents[1]

# In a wheel the folder is inside the package, in a checkout next to it.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def register_schema() -> None:
    """Tell Hydra which keys there are; `data.*` has those of the kind that a file of `conf/data` chooses."""
    store = ConfigStore.instance()
    store.store("schema", Config)
    for name, kind in DATA_KINDS.items():
        store.store(name, kind, group="kind", package="data")


def grid_axes(loader: ConfigLoader, words: Sequence[str]) -> list[list[str]]:
    """Return, for each key, one override per value; if a key is given more than once, the last one counts.

    Raises:
        ConfigError: An override is an interval, which does not define grid points.
    """
    axes = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(words)):
        if not override.is_sweep_override():
            values = [override.get_value_element_as_str()]
        else:
            is_listed = override.is_discrete_sweep()
            require(is_listed, f"{override.input_line}: a grid needs choices or a range, as in 0.01,0.1 or range(1,4).")
            values = override.sweep_string_iterator()
        key = override.get_key_element()
        axes[key] = [f"{key}={value}" for value in values]
    return list(axes.values())


def compose_jobs(
    loader: ConfigLoader, master: DictConfig, jobs: Sequence[Sequence[str]], first_number: int
) -> list[DictConfig]:
    """Return what `loader.load_sweep_config` returns for each job, the `hydra` node included."""
    parser = OverridesParser.create(config_loader=loader)
    parse = functools.cache(lambda word: parser.parse_overrides([word])[0])
    is_group = functools.cache(lambda key: bool(loader.get_group_options(key.replace(".", "/"))))

    def sets_a_value(override: Override) -> bool:
        plain = override.type is OverrideType.CHANGE and not override.is_hydra_override()
        return plain and not is_group(override.key_or_group) and not isinstance(override.value(), list | dict)

    templates: dict[tuple[str, ...], bytes] = {}
    configs = []
    for number, job in enumerate(jobs, first_number):
        overrides = [parse(word) for word in job]
        values = {override.key_or_group: override.value() for override in overrides if sets_a_value(override)}
        others = [str(override.input_line) for override in overrides if override.key_or_group not in values]
        kind = (*others, *values)
        if kind not in templates:
            templates[kind] = pickle.dumps(loader.load_sweep_config(master, list(job)))
        config = pickle.loads(templates[kind])  # A deep copy takes six times as long.
        for key, value in values.items():
            OmegaConf.update(config, key, value)
        own = {str(each.input_line): each.key_or_group for each in overrides if not each.is_hydra_override()}
        form = config.hydra.job.config.override_dirname
        named = sorted(word for word, key in own.items() if key not in form.exclude_keys)
        with open_dict(config):
            config.hydra.overrides.task = list(own)
            config.hydra.job.override_dirname = form.item_sep.join(map(masked, named)).replace("=", form.kv_sep)
            config.hydra.job.id = config.hydra.job.num = number
        configs.append(config)
    return configs


def task_config(job: DictConfig) -> DictConfig:
    """Return a job's configuration without the `hydra` node and with its MLflow experiment's name filled in."""
    config = pickle.loads(pickle.dumps(job))
    with open_dict(config):
        del config["hydra"]
    if OmegaConf.select(config, "tracking.experiment") is None:
        config.tracking.experiment = job.hydra.runtime.choices.get("experiment") or DEFAULT_EXPERIMENT
    return config
