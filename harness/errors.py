"""`ConfigError`: the one error type for invalid user input. `causes`: the chain of an error's causes."""

from __future__ import annotations

from collections.abc import Iterator


class ConfigError(ValueError):
    """The command line, a configuration or the data are invalid.

    The message tells the user, in one or two sentences, what is wrong, where, and what to do about it.
    """


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError` with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then the one that it was raised from or while handling, and so on."""
    yield error
    while cause := error.__cause__ or error.__context__:
        error = cause
        yield error
