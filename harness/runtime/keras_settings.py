"""Keras's process-wide settings: the harness uses the defaults, and restores the user's settings afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple


class KerasSettings(NamedTuple):
    """The settings that `keras.json` or a program can change for a whole process; the defaults are those of Keras."""

    floatx: str = "float32"
    epsilon: float = 1e-7
    image_data_format: str = "channels_last"
    dtype_policy: object = "float32"


_users: list[KerasSettings] = []
"""The settings to restore; at most one entry."""


def use_default_settings() -> None:
    """Change the settings that affect results, and remember the user's."""
    if not _users:
        _users.append(_current())
    _apply(KerasSettings())


def restore_user_settings() -> None:
    """Restore the user's settings, if any were replaced."""
    while _users:
        _apply(_users.pop())


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build layers with Keras's dtype policy `name`, in this thread."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _current() -> KerasSettings:
    import keras

    return KerasSettings(*(getattr(keras.config, name)() for name in KerasSettings._fields))


def _apply(settings: KerasSettings) -> None:
    import keras

    for name, value in settings._asdict().items():
        getattr(keras.config, f"set_{name}")(value)
