"""Passwords in addresses, and the files in which Hydra would keep them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from harness.address import masked


def hide_passwords(folder: Path | None) -> None:
    """Mask the passwords in what Hydra has written into a folder of a sweep or a job so far."""
    for path in folder.glob("*.yaml") if folder else ():
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
