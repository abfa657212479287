"""Keep passwords in addresses out of the files that Hydra writes: configurations and logs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from harness.runtime.secrets import masked

JOB_FILES = ("config.yaml", "hydra.yaml", "overrides.yaml")
SWEEP_FILES = ("multirun.yaml",)


def hide_passwords(folder: Path | None, files: Sequence[str]) -> None:
    """Mask the passwords in those of `files` that Hydra has written into `folder`."""
    for path in (folder / file for file in files if folder and (folder / file).is_file()):
        text = path.read_text()
        if (hidden := masked(text)) != text:
            path.write_text(hidden)


def job_folder(hydra_config: Any) -> Path | None:
    """Return the folder that Hydra writes a job's configuration to, if any."""
    if OmegaConf.is_missing(hydra_config.runtime, "output_dir") or hydra_config.output_subdir is None:
        return None
    return Path(hydra_config.runtime.output_dir) / hydra_config.output_subdir


class MaskingFormatter(logging.Formatter):
    """Masks passwords in log lines; `conf/hydra/job_logging/harness.yaml` names it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the formatted record without passwords."""
        return masked(super().format(record))
