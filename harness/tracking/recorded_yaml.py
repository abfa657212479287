"""Reads YAML that other people may have written; limits are checked before anything is built from it."""

from __future__ import annotations

import yaml

from harness.config.limits import DEEPEST, LONGEST_TEXT, MOST_VALUES
from harness.errors import require

MOST_BYTES = 1 << 20


def load(text: str, name: str) -> object:
    """Return the plain values in `text`.

    Aliases are rejected, because the harness writes none, and a few lines of them can expand to billions of values.

    Raises:
        ConfigError: The text is too large or too deeply nested, or has aliases; the message begins with `name`.
        yaml.YAMLError: The text is not valid YAML.
    """
    require(len(text) <= MOST_BYTES, f"{name} is larger than {MOST_BYTES >> 20} MiB.")
    depth = values = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        require(not isinstance(event, yaml.AliasEvent), f"{name} contains YAML aliases, which are not plain values.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        values += isinstance(event, yaml.NodeEvent)
        require(depth <= DEEPEST, f"{name} is nested more than {DEEPEST} levels deep.")
        require(values <= MOST_VALUES, f"{name} has more than {MOST_VALUES:,} values.")
        is_short = not isinstance(event, yaml.ScalarEvent) or len(event.value) <= LONGEST_TEXT
        require(is_short, f"{name} has a value of more than {LONGEST_TEXT:,} characters.")
    return yaml.load(text, Loader=yaml.CSafeLoader)
