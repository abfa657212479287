"""Names everything to change in a configuration so that it suits a file, judging by the file's first rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from harness.config import DataConfig, Loss
from harness.config.objective import CLASSES_LOSS
from harness.config.overrides import override
from harness.data.csv.source import CsvSource
from harness.data.formats import open_source
from harness.data.profiling.profile import ColumnProfile, profile
from harness.data.profiling.sniff import Sniffed, sniff
from harness.data.profiling.suggest import MOST_WORDS, choose_target, date_settings, suggest
from harness.data.selection import Selection
from harness.data.storage.addresses import find_addresses
from harness.data.storage.files import open_file
from harness.data.storage.urls import scheme
from harness.data.text_hints import format_hint
from harness.errors import ConfigError
from harness.formatting import listed

FIRST_BYTES = 64 << 10
MOST_NAMES = 10

ANY_COLUMNS = "'data.features=[NAME,NAME]' data.target=NAME"
"""Arguments to show if `words_to_start` finds none."""


def words_to_start(path: str | Sequence[str], target: Any = None) -> str:
    """Return arguments for a file's format, features and target, to add to `data=csv` and `data.path`.

    Empty if the file is remote or a stream, or if there is nothing to train on.

    Args:
        path: The value of `data.path`.
        target: The column to predict; another one is chosen if the file does not have it.
    """
    with contextlib.suppress(ConfigError, OSError, ValueError):
        if any(map(scheme, [path] if isinstance(path, str) else path)):
            return ""
        address = find_addresses(path)[0]
        if open_file(address).is_stream:
            return ""
        is_text = isinstance(open_source(address, Selection(())), CsvSource)
        sniffed = sniff(open_file(address)) if is_text else Sniffed()
        columns = profile([address], sniffed.dialect, FIRST_BYTES, most_cells=0).columns
        chosen = choose_target(columns, target if target in [column.name for column in columns] else None)
        settings = suggest(columns, chosen) if chosen else {}
        keys = {f"data.{key}": value for key, value in sniffed.keys.items()}
        return " ".join(override(key, value) for key, value in (keys | settings).items()) if settings else ""
    return ""


def describe_misfits(address: str, data: DataConfig, loss: Loss) -> str:
    """Return sentences about columns of text or dates that `data` takes for numbers; empty if there are none.

    Raises:
        ConfigError: The first rows cannot be read.
    """
    names = [name for name in (*data.features, *data.targets) if name not in (*data.categorical, *data.dates)]
    columns = profile([address], data, FIRST_BYTES, most_cells=0, columns=names).columns
    misfits = [column for column in columns if column.is_words and (column.kind == "date" or _is_text(column))]
    if not misfits:
        return ""
    found = listed([f"{column.name} ({column.first_bad!r})" for column in misfits], MOST_NAMES)
    fault = f"{found} is not a number" if len(misfits) == 1 else f"{found} are not numbers"
    return f"{address}: {fault}. {' '.join(_remedies(misfits, data, loss))}"


def _is_text(column: ColumnProfile) -> bool:
    return column.kind == "text" and not format_hint(column.name, column.first_bad)


def _remedies(misfits: Sequence[ColumnProfile], data: DataConfig, loss: Loss) -> Iterator[str]:
    dates = [column for column in misfits if column.kind == "date"]
    texts = [column for column in misfits if column.kind == "text" and column.name not in data.targets]
    labels = [column for column in misfits if column.kind == "text" and column.name in data.targets]
    free = [column.name for column in texts if column.distinct is None or column.distinct > _most_words(column)]
    categorical = [column.name for column in texts if column.name not in free]
    settings: dict[str, Any] = {}
    if labels and loss is Loss.binary_crossentropy and labels[0].distinct == 2:
        categorical.append(labels[0].name)
    elif labels:
        settings["loss"] = CLASSES_LOSS.value
    if labels and len(data.targets) > 1:
        settings["data.target"] = labels[0].name
    if categorical:
        settings["data.categorical"] = [*data.categorical, *categorical]
    if dates:
        settings |= date_settings(data.date_formats | {column.name: column.date_format for column in dates})
    if settings:
        yield f"Set {' '.join(override(key, value) for key, value in settings.items())}."
    if free:
        yield f"Leave out {', '.join(free)}: there are too many different values for categories."


def _most_words(column: ColumnProfile) -> int:
    return max(MOST_WORDS, column.count // 2)
