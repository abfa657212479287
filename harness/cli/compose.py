"""The jobs of a sweep as Hydra would compose them, without composing each from its files.

Jobs that choose the same groups and set the same keys differ in values alone, on which no defaults list can depend:
Hydra composes the first of them, and the others are copies of it with their own values.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from harness.config import DEFAULT_EXPERIMENT

CONF = Path(__file__).resolve().parents[2] / "conf"


class JobConfig(DictConfig):
    """A configuration that is copied by pickling, in a sixth of the time; Hydra copies each job's four times."""

    def __deepcopy__(self, memo: dict[int, Any]) -> JobConfig:
        """Return a copy that has the same parent."""
        parent = self._get_parent()
        self._set_parent(None)  # Else it would be copied too.
        try:
            copied = pickle.loads(pickle.dumps(self))
        finally:
            self._set_parent(parent)
        copied._set_parent(parent)
        return copied


def compose_jobs(
    loader: ConfigLoader, master: DictConfig, jobs: Sequence[Sequence[str]], first_number: int
) -> list[DictConfig]:
    """Compose all jobs of a sweep.

    Args:
        loader: Hydra's.
        master: The sweep's own configuration.
        jobs: The overrides of each.
        first_number: Of the first job.

    Returns:
        A configuration for each job, `hydra` node included, equal to what `loader.load_sweep_config` returns.
    """
    parser = OverridesParser.create(config_loader=loader)
    # The jobs of a grid have most words in common.
    parsed = functools.cache(lambda word: parser.parse_overrides([word])[0])
    templates: dict[tuple[str, ...], bytes] = {}
    groups: dict[str, bool] = {}

    def sets_a_value(override: Override) -> bool:
        key = override.key_or_group
        if key not in groups:
            groups[key] = bool(loader.get_group_options(key.replace(".", "/")))
        plain = override.type is not None and override.type.name == "CHANGE" and not override.is_hydra_override()
        return plain and not groups[key] and not isinstance(override.value(), list | dict)

    configs = []
    for job in jobs:
        overrides = [parsed(word) for word in job]
        values = {item.key_or_group: item.value() for item in overrides if sets_a_value(item)}
        rest = [str(item.input_line) for item in overrides if item.key_or_group not in values]
        kind = (*rest, *values)
        if kind not in templates:
            template = loader.load_sweep_config(master, list(job))
            for node in (template, template.hydra):
                object.__setattr__(node, "__class__", JobConfig)
            templates[kind] = pickle.dumps(template)
        configs.append(_with_values(templates[kind], values, overrides))
    for number, config in enumerate(configs, first_number):
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
    return configs


def _with_values(template: bytes, values: Mapping[str, object], overrides: list[Override]) -> DictConfig:
    config = pickle.loads(template)  # Our own, of a moment ago; a deep copy takes six times as long.
    for key, value in values.items():
        OmegaConf.update(config, key, value, merge=True)
    names = config.hydra.job.config.override_dirname
    own = [override for override in overrides if not override.is_hydra_override()]
    config.hydra.overrides.task = [override.input_line for override in own]
    config.hydra.job.override_dirname = get_overrides_dirname(
        overrides=own, kv_sep=names.kv_sep, item_sep=names.item_sep, exclude_keys=names.exclude_keys
    )
    return config


def task_config(job: DictConfig) -> DictConfig:
    """Return what of a job's configuration is the harness's own."""
    config = pickle.loads(pickle.dumps(job))
    with open_dict(config):
        del config["hydra"]
    name_experiment(config, job.hydra.runtime.choices)
    return config


def name_experiment(config: DictConfig, choices: Mapping[str, str | None]) -> None:
    """Record under the name of the experiment that is chosen, else of the harness, unless another is given."""
    if OmegaConf.select(config, "tracking.experiment") is None:
        config.tracking.experiment = choices.get("experiment") or DEFAULT_EXPERIMENT
