"""The keys after the path of `harness predict`, for a file whose format differs from that of the run's data."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from harness.cli.words import quote_for_hydra
from harness.config import DataConfig
from harness.config.dialect import Dialect
from harness.config.overrides import override
from harness.errors import ConfigError, require


def with_dialect(data: DataConfig, words: Sequence[str]) -> DataConfig:
    """Return `data` with the keys in `words`, such as `data.delimiter=tab`.

    A list of date formats applies to the columns in `data.dates`, in the order given in `words`; other columns keep the
    run's format.

    Raises:
        ConfigError: An argument does not set a key of the text format, or the date columns are unknown.
    """
    known = {"data.dates", "data.date_format", *(f"data.{field.name}" for field in dataclasses.fields(Dialect))}
    values = {}
    for word in quote_for_hydra(words):
        key, equals, _ = word.partition("=")
        require(bool(equals) and key in known, f"{word}: predict takes only {', '.join(sorted(known))}.")
        try:
            values[key.removeprefix("data.")] = OverridesParser.create().parse_override(word).value()
        except HydraException as error:
            raise ConfigError(f"cannot parse {word}. Write KEY=VALUE, such as data.delimiter=tab.") from error
    values = _with_formats(data, values)
    try:
        return dataclasses.replace(data, **values)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{' '.join(words)}: {error}") from error


def _with_formats(data: DataConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with the date formats in the order of the run's `data.dates`, which are sorted."""
    formats = values.get("date_format")
    is_list = isinstance(formats, list)
    if "dates" not in values:
        require(
            not is_list or all(form == formats[0] for form in formats),
            "data.date_format has several formats. Name their columns in the same order, as in "
            f"{override('data.dates', data.dates)}.",
        )
        return dict(values)
    names = values["dates"] if isinstance(values["dates"], list) else [values["dates"]]
    names = [str(name) for name in names]
    unknown = ", ".join(name for name in names if name not in data.dates)
    require(not unknown, f"data.dates: {unknown} is not among the dates of the run ({', '.join(data.dates)}).")
    require("date_format" in values, "data.dates needs data.date_format, with a format for each of them.")
    given = formats if is_list else [formats] * len(names)
    counts = f"{len(given)} formats, but data.dates has {len(names)}"
    require(len(given) == len(names), f"data.date_format has {counts}: give one for each, or one for all.")
    merged = data.date_formats | dict(zip(names, given, strict=True))
    return {**values, "dates": data.dates, "date_format": [merged[name] for name in data.dates]}


def keys_in(words: Sequence[str]) -> set[str]:
    """Return the keys that `words` set, without `data.`."""
    return {word.partition("=")[0].removeprefix("data.") for word in words}


def recorded_keys(data: DataConfig, heeded: Collection[str], own: Collection[str]) -> str:
    """Return the recorded keys of a run's text format, without defaults and the user's `own` keys.

    Args:
        data: How the run's data was read.
        heeded: The keys of `Dialect` that apply to the file.
        own: Keys that the user has set, without `data.`.
    """
    plain = Dialect()
    keys = [field.name for field in dataclasses.fields(Dialect) if field.name in heeded and field.name not in own]
    changed = [key for key in keys if getattr(data, key) != getattr(plain, key)]
    if data.date_format is not None and "date_format" not in own:
        changed += ["dates", "date_format"] if isinstance(data.date_format, list) else ["date_format"]
    return " ".join(override(f"data.{key}", getattr(data, key)) for key in changed)
