"""Passwords in addresses, and the files in which Hydra would keep them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from harness.address import masked


def hide_passwords(hydra_config: Any) -> None:
    """Mask the passwords in what Hydra has written of a call or a job so far."""
    folders = [Path(hydra_config.sweep.dir)]
    if not OmegaConf.is_missing(hydra_config.runtime, "output_dir") and hydra_config.output_subdir is not None:
        folders.append(Path(hydra_config.runtime.output_dir) / hydra_config.output_subdir)
    for path in (path for folder in folders for path in folder.glob("*.yaml")):
        text = path.read_text()
        if (hidden := masked(text)) != text:
            path.write_text(hidden)


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
