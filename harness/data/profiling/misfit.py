"""Adds a guess at the file's format to an error message, if no dialect was given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from harness.config import DataConfig
from harness.config.dialect import Dialect
from harness.data.csv.source import CsvSource
from harness.data.formats import open_source
from harness.data.profiling.sniff import sniff
from harness.data.selection import Selection
from harness.data.storage.files import open_file
from harness.errors import ConfigError
from harness.overrides import override


@contextlib.contextmanager
def hints(addresses: Sequence[str], data: DataConfig) -> Iterator[None]:
    """Add the keys that seem to describe the files' format to a `ConfigError`."""
    try:
        yield
    except ConfigError as error:
        words = []
        with contextlib.suppress(ConfigError, OSError, ValueError):
            words = _missing_keys(addresses, data, str(error))
        if not words:
            raise
        advice = f"The file seems to need {' '.join(words)}; see `harness data describe`."
        raise ConfigError(f"{error} {advice}") from error


def _missing_keys(addresses: Sequence[str], data: DataConfig, message: str) -> list[str]:
    file = open_file(addresses[0])
    if file.is_stream or not isinstance(open_source(addresses[0], Selection(())), CsvSource):
        return []
    plain, found = Dialect(), sniff(file)
    # Keep what the user set, and do not repeat what the message already says.
    return [
        override(f"data.{key}", value)
        for key, value in found.keys.items()
        if getattr(data, key) == getattr(plain, key) and f"data.{key}" not in message and key != "keep_default_na"
    ]
