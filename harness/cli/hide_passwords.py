"""Passwords in addresses, and the files in which Hydra would keep them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from harness.runtime.secrets import masked

JOB_FILES = ("config.yaml", "hydra.yaml", "overrides.yaml")
SWEEP_FILES = ("multirun.yaml",)


def hide_passwords(folder: Path | None, files: Sequence[str]) -> None:
    """Mask the passwords in the `files` that Hydra has written into a folder so far."""
    for path in (folder / file for file in files if folder and (folder / file).is_file()):
        text = path.read_text()
        if (hidden := masked(text)) != text:
            path.write_text(hidden)


def folder_of_job(hydra_config: Any) -> Path | None:
    """Return where Hydra writes a job's configuration; None if nowhere."""
    if OmegaConf.is_missing(hydra_config.runtime, "output_dir") or hydra_config.output_subdir is None:
        return None
    return Path(hydra_config.runtime.output_dir) / hydra_config.output_subdir


class _Masked(logging.LogRecord):
    def getMessage(self) -> str:
        """Return the message without passwords."""
        return masked(super().getMessage())


@contextlib.contextmanager
def logged_without_passwords() -> Iterator[None]:
    """Mask the passwords in what is logged, as words of a call are by Hydra's launchers."""
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(_Masked)
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)
