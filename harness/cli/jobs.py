"""A sweep's jobs as Hydra runs them, with their files written faster.

Hydra writes all of each job's configuration, which is half of what it takes for a job. The files are the same to the
letter, but for passwords.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hydra.core import utils
from omegaconf import DictConfig, ListConfig, OmegaConf

from harness.runtime.secrets import masked


@contextlib.contextmanager
def files_in_parts() -> Iterator[None]:
    """Have `run_job` write its files in parts inside the block."""

    def save(config: DictConfig | ListConfig, file: str, folder: Path) -> None:
        values = OmegaConf.to_container(config, enum_to_str=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(masked(OmegaConf.to_yaml(values)), encoding="utf-8")

    # Hydra has no place for another way to write them.
    before = utils._save_config
    utils._save_config = save
    try:
        yield
    finally:
        utils._save_config = before
