"""Temporary environment variables, for libraries that cannot be configured in any other way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from harness.runtime.user_folder import user_folder


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables inside the block."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)


def missing_home() -> dict[str, str]:
    """Return a value for `HOME` if this user has neither a home nor an entry in the user database, else nothing.

    MLflow cannot be imported without a home.
    """
    try:
        Path.home()
    except RuntimeError:
        return {"HOME": str(user_folder())}
    return {}


def default_environment(values: Mapping[str, str]) -> AbstractContextManager[None]:
    """Set environment variables inside the block, except those that are already set."""
    return environment(**{name: value for name, value in values.items() if name not in os.environ})
