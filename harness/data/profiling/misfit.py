"""Adds a guess at the file's format to an error message, unless the user has set the format."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Sequence

from harness.config import DataConfig
from harness.config.dialect import Dialect
from harness.config.overrides import override
from harness.data.csv.source import CsvSource
from harness.data.formats import open_source
from harness.data.profiling.sniff import sniff
from harness.data.selection import Selection
from harness.data.storage.files import open_file
from harness.errors import ConfigError

_KEYS = tuple(key.name for key in dataclasses.fields(Dialect))
_LAYOUT = ("delimiter", "decimal", "thousands", "encoding", "header")
_LAYOUT += ("skip_rows", "skip_footer", "units_row", "trailing_delimiter")
"""Keys that make a plain CSV file unreadable if they are set."""


@contextlib.contextmanager
def hints(addresses: Sequence[str], data: DataConfig, own: Collection[str] | None = None) -> Iterator[None]:
    """Add the keys that seem to describe the files' format to a `ConfigError`.

    Args:
        addresses: The files.
        data: How the files were read.
        own: Keys that the user has set, which are kept; by default, all keys whose value is not the default.
    """
    try:
        yield
    except ConfigError as error:
        words = []
        with contextlib.suppress(ConfigError, OSError, ValueError):
            words = _missing_keys(addresses, data, str(error), own)
        if not words:
            raise
        advice = f"The file seems to need {' '.join(words)}; see `harness data describe`."
        raise ConfigError(f"{error} {advice}") from error


def _missing_keys(addresses: Sequence[str], data: DataConfig, message: str, own: Collection[str] | None) -> list[str]:
    file = open_file(addresses[0])
    if file.is_stream or not isinstance(open_source(addresses[0], Selection(())), CsvSource):
        return []
    plain, found = Dialect(), sniff(file)
    kept = own if own is not None else [key for key in _KEYS if getattr(data, key) != getattr(plain, key)]
    # Keep what the user set, and do not repeat what the message already says.
    wanted = [key for key in _KEYS if key not in kept and f"data.{key}" not in message and key != "keep_default_na"]
    proposed = found.keys | {key: getattr(plain, key) for key in _LAYOUT if key not in found.keys}
    form = Dialect(**proposed)
    changes = {key: proposed[key] for key in wanted if key in proposed and getattr(form, key) != getattr(data, key)}
    # The user's settings may contradict a guess.
    Dialect(**{key: getattr(data, key) for key in _KEYS} | changes)
    return [override(f"data.{key}", value) for key, value in changes.items()]
