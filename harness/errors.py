"""`ConfigError`: the one kind of error with which a user's input is refused."""

from __future__ import annotations


class ConfigError(ValueError):
    """The command line, a configuration or the data cannot be used as they are.

    The message is one natural sentence or two for the user: what is wrong, where, and what to do.
    """


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError` with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)
