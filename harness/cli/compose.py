"""From override words to configurations: where `conf` lies, and the jobs of a sweep as Hydra composes them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf, open_dict

from harness.config import DEFAULT_EXPERIMENT

_PACKAGE = Path(__file__).resolve().parents[1]

# A wheel carries the folder inside the package; in a checkout it stands beside it.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def compose_jobs(
    loader: ConfigLoader, master: DictConfig, jobs: Iterable[Sequence[str]], first_number: int
) -> list[DictConfig]:
    """Compose the jobs of a sweep, the `hydra` node included.

    Args:
        loader: Hydra's loader.
        master: The sweep's own configuration.
        jobs: The overrides of each job.
        first_number: The number of the first job.
    """
    configs = [loader.load_sweep_config(master, list(job)) for job in jobs]
    for number, config in enumerate(configs, first_number):
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
    return configs


def task_config(job: DictConfig) -> DictConfig:
    """Return a job's configuration without the `hydra` node, and with the name of its MLflow experiment."""
    config = copy.deepcopy(job)
    with open_dict(config):
        del config["hydra"]
    if OmegaConf.select(config, "tracking.experiment") is None:
        config.tracking.experiment = job.hydra.runtime.choices.get("experiment") or DEFAULT_EXPERIMENT
    return config
