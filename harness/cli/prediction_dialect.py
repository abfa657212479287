"""The keys after the path of `harness predict`: the file's format, if it differs from that of the run's data."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from harness.cli.words import quote_for_hydra
from harness.config import DataConfig
from harness.config.dialect import Dialect
from harness.errors import ConfigError, require
from harness.overrides import override


def with_dialect(data: DataConfig, words: Sequence[str]) -> DataConfig:
    """Return `data` with the keys in `words`, such as `data.delimiter=tab`.

    Raises:
        ConfigError: An argument does not set a key of the text format.
    """
    known = {"data.date_format", *(f"data.{field.name}" for field in dataclasses.fields(Dialect))}
    values = {}
    for word in quote_for_hydra(words):
        key, equals, _ = word.partition("=")
        require(bool(equals) and key in known, f"{word}: predict takes only {', '.join(sorted(known))}.")
        try:
            values[key.removeprefix("data.")] = OverridesParser.create().parse_override(word).value()
        except HydraException as error:
            raise ConfigError(f"cannot parse {word}. Write KEY=VALUE, such as data.delimiter=tab.") from error
    try:
        return dataclasses.replace(data, **values)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{' '.join(words)}: {error}") from error


def keys_in(words: Sequence[str]) -> set[str]:
    """Return the keys that `words` set, without `data.`."""
    return {word.partition("=")[0].removeprefix("data.") for word in words}


def recorded_keys(data: DataConfig, own: Collection[str]) -> str:
    """Return the keys of the text format that a run has recorded, other than defaults and the user's `own`."""
    plain = Dialect()
    keys = [field.name for field in dataclasses.fields(Dialect) if field.name not in own]
    changed = [key for key in keys if getattr(data, key) != getattr(plain, key)]
    return " ".join(override(f"data.{key}", getattr(data, key)) for key in changed)
