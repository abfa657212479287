"""Composes configurations from overrides: locates `conf`, and composes the jobs of a sweep.

Jobs that choose the same groups and set the same keys differ only in plain values, which cannot affect a defaults list.
So Hydra composes only the first of them; the others are copies with their own values.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue

from harness.config import DATA_KINDS, DEFAULT_EXPERIMENT, Config
from harness.config.any_data import MOST_FOLDS
from harness.errors import require
from harness.runtime.secrets import masked

_PACKAGE = Path(__file__).resolve().parents[1]

LONGEST_FOLDER = 200
"""Maximum bytes in the name of a folder; most file systems accept 255."""

# In a wheel the folder is inside the package, in a checkout next to it.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def register_schema() -> None:
    """Register the schema with Hydra; a file in `conf/data` chooses the kind that determines the keys of `data.*`."""
    store = ConfigStore.instance()
    store.store("schema", Config)
    for name, kind in DATA_KINDS.items():
        store.store(name, kind, group="kind", package="data")


def grid_axes(loader: ConfigLoader, words: Sequence[str]) -> list[list[str]]:
    """Return, for each key, one override per value; if a key is given more than once, the last override counts.

    Raises:
        ConfigError: An override is an interval, which has no grid points.
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


def fold_words(config: DictConfig, words: Sequence[str]) -> list[str]:
    """Return the override that trains all folds, if a sweep sets `data.folds` but does not choose among the folds."""
    folds, fold = (OmegaConf.select(config, f"data.{key}") for key in ("folds", "fold"))
    is_chosen = fold is not None or any(word.lstrip("+").startswith("data.fold=") for word in words)
    if is_chosen or not isinstance(folds, int) or folds < 2:
        return []
    return [f"data.fold={','.join(map(str, range(min(folds, MOST_FOLDS))))}"]


@dataclass(frozen=True)
class Job:
    """A composed job.

    Attributes:
        config: Its configuration without the `hydra` node, and with its MLflow experiment's name filled in.
        words: Its own overrides.
        choices: The chosen option of each group.
        whole: Returns the configuration with the `hydra` node, as Hydra's own functions expect it.
        shared: Parts of the configuration, as `OmegaConf.to_object` returns them, that the job shares with others.
    """

    config: DictConfig
    words: Sequence[str]
    choices: Mapping[str, Any]
    whole: Callable[[], DictConfig]
    shared: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> Any:
        """Return the configuration as an object, without the checks that `App` makes.

        Raises:
            MissingMandatoryValue: A value is missing.
        """
        if not self.shared:
            return OmegaConf.to_object(self.config)
        own = {str(key): _object(self.config, str(key)) for key in self.config if key not in self.shared}
        return Config(**self.shared, **own)

    @classmethod
    def of(cls, whole: DictConfig) -> Job:
        """Return the job for a configuration composed by Hydra, which includes the `hydra` node."""
        config, hydra = whole.copy(), whole.hydra
        words: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
        return cls(_task(config), words, dict(hydra.runtime.choices), lambda: whole)


def compose_jobs(
    loader: ConfigLoader, master: DictConfig, jobs: Sequence[Sequence[str]], first_number: int
) -> list[Job]:
    """Return the jobs; their `whole` configurations equal those of `loader.load_sweep_config`."""
    parser = OverridesParser.create(config_loader=loader)
    parse = functools.cache(lambda word: parser.parse_overrides([word])[0])
    is_group = functools.cache(lambda key: bool(loader.get_group_options(key.replace(".", "/"))))

    def sets_a_value(override: Override) -> bool:
        plain = override.type is OverrideType.CHANGE and not override.is_hydra_override()
        return plain and not is_group(override.key_or_group) and not isinstance(override.value(), list | dict)

    templates: dict[tuple[str, ...], _Template] = {}
    composed = []
    for number, words in enumerate(jobs, first_number):
        overrides = [parse(word) for word in words]
        values = {override.key_or_group: override.value() for override in overrides if sets_a_value(override)}
        others = [str(override.input_line) for override in overrides if override.key_or_group not in values]
        kind = (*others, *values)
        if kind not in templates:
            templates[kind] = _Template.of(loader.load_sweep_config(master, list(words)))
        template = templates[kind]
        own = {str(each.input_line): each.key_or_group for each in overrides if not each.is_hydra_override()}
        whole = functools.partial(template.whole, values, own, number)
        shared = template.shared({key.partition(".")[0] for key in values})
        composed.append(Job(template.task(values), list(own), template.choices, whole, shared))
    return composed


@dataclass(frozen=True)
class _Template:
    """A composed job from which others are copied with their own values; deep copies would take six times as long.

    Attributes:
        pickled: The configuration with the `hydra` node.
        pickled_task: The configuration without it.
        choices: The chosen option of each group.
        parts: The parts of the configuration without the `hydra` node, as objects; empty if a value is missing, or
            depends on another one.
    """

    pickled: bytes
    pickled_task: bytes
    choices: Mapping[str, Any]
    parts: Mapping[str, Any]

    @classmethod
    def of(cls, whole: DictConfig) -> _Template:
        """Return the template for a composed configuration."""
        pickled, choices = pickle.dumps(whole), dict(whole.hydra.runtime.choices)
        task, parts = _task(whole), {}
        if "${" not in OmegaConf.to_yaml(task):
            with contextlib.suppress(MissingMandatoryValue):
                parts = {str(key): _object(task, str(key)) for key in task}
        return cls(pickled, pickle.dumps(task), choices, parts)

    def shared(self, own: Collection[str]) -> dict[str, Any]:
        """Return all parts of the configuration except those in which a job sets values."""
        return {key: part for key, part in self.parts.items() if key not in own}

    def task(self, values: Mapping[str, Any]) -> DictConfig:
        """Return a copy with these values and without the `hydra` node."""
        config = pickle.loads(self.pickled_task)
        for key, value in values.items():
            OmegaConf.update(config, key, value)
        return config

    def whole(self, values: Mapping[str, Any], own: Mapping[str, str], number: int) -> DictConfig:
        """Return a copy with the `hydra` node, for the job with this number and these overrides, by key."""
        config = pickle.loads(self.pickled)
        for key, value in values.items():
            OmegaConf.update(config, key, value)
        form = config.hydra.job.config.override_dirname
        named = sorted(word for word, key in own.items() if key not in form.exclude_keys)
        with open_dict(config):
            config.hydra.overrides.task = list(own)
            dirname = form.item_sep.join(map(masked, named)).replace("=", form.kv_sep)
            config.hydra.job.override_dirname = _as_folder(dirname)
            config.hydra.job.id = config.hydra.job.num = number
        return config


def _object(config: DictConfig, key: str) -> Any:
    value = config[key]
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _as_folder(name: str) -> str:
    """Return a folder name; if it is too long for file systems, its end is replaced by a hash."""
    content = name.encode(errors="surrogateescape")
    if len(content) <= LONGEST_FOLDER:
        return name
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    return f"{content[: LONGEST_FOLDER - len(digest) - 1].decode(errors='ignore')}-{digest}"


def _task(config: DictConfig) -> DictConfig:
    """Remove the `hydra` node, and fill in the name of the MLflow experiment."""
    chosen = os.environ.get("MLFLOW_EXPERIMENT_NAME") or config.hydra.runtime.choices.get("experiment")
    experiment = chosen or DEFAULT_EXPERIMENT
    with open_dict(config):
        del config["hydra"]
    if OmegaConf.select(config, "tracking.experiment") is None:
        config.tracking.experiment = experiment
    return config
