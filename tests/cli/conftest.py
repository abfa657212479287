"""Fixtures for commands that are called in this process."""

from __future__ import annotations

import logging.config
from collections.abc import Iterator

import pytest


@pytest.fixture
def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore logging afterwards; Hydra configures it again for each job, which would close pytest's own handlers."""
    handlers, level = logging.root.handlers[:], logging.root.level

    def close_log() -> None:
        for handler in set(logging.root.handlers) - set(handlers):
            handler.close()

    monkeypatch.setattr(logging.config, "_clearExistingHandlers", close_log)
    yield
    close_log()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
