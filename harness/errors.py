"""`ConfigError`: the one error type for invalid user input."""

from __future__ import annotations


class ConfigError(ValueError):
    """The command line, a configuration or the data are invalid.

    The message tells the user, in one or two sentences, what is wrong, where, and what to do about it.
    """


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError` with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)
