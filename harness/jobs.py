"""A sweep's jobs as Hydra runs them, with their files written faster.

Hydra writes all of each job's configuration, in pure Python, which is half of what it takes for a job. The jobs of a
sweep share most of it: here each part is turned into YAML once. The files are the same to the letter, but for
passwords.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.core import utils
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf._utils import get_omega_conf_dumper

from harness.address import masked


@contextlib.contextmanager
def files_in_parts() -> Iterator[None]:
    """Have `run_job` write its files in parts inside the block."""
    written: dict[str, str] = {}

    def save(config: DictConfig | ListConfig, file: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(masked(in_yaml(config, written)), encoding="utf-8")

    # Hydra has no place for another way to write them.
    before = utils._save_config
    utils._save_config = save
    try:
        yield
    finally:
        utils._save_config = before


def in_yaml(config: DictConfig | ListConfig, written: dict[str, str]) -> str:
    """Return what `OmegaConf.to_yaml` does.

    Args:
        config: Of a job.
        written: Parts of others, by their values; those of this one are added.
    """
    values: Any = OmegaConf.to_container(config, enum_to_str=True)
    if not isinstance(values, dict) or not values:
        return _dumped(values)
    (name, below), *more = values.items()
    if more or not isinstance(below, dict) or not below:
        return "".join(_once({key: value}, written) for key, value in values.items())
    # All that is Hydra's own is below one key.
    return f"{name}:\n" + "".join(
        _once({name: {key: value}}, written).partition("\n")[2] for key, value in below.items()
    )


def _once(part: object, written: dict[str, str]) -> str:
    told = repr(part)
    if told not in written:
        written[told] = _dumped(part)
    return written[told]


def _dumped(values: object) -> str:
    dumper = get_omega_conf_dumper()
    return yaml.dump(values, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=dumper)
