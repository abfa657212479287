"""Saying no: the one kind of error, and the one form of sentence, in which a person is refused."""

from __future__ import annotations


class ConfigError(ValueError):
    """A refusal: the command line, a configuration or the data cannot be used as they are.

    Its text is one sentence for a person: what was expected, what was received, and the mend.
    """


def require(condition: bool, expected: str, received: object, remedy: str = "") -> None:
    """Raise `ConfigError` in the project's one form unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{expected}. Received: {received}." + (f" {remedy}" if remedy else ""))
