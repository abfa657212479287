"""Arguments of `harness train` that Hydra does not know, written as overrides."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.errors import require
from harness.overrides import hydra_value

NAME = "--name"
_TAG = re.compile(r"tracking\.tags\.[^=]+=")


def overrides(words: Sequence[str]) -> list[str]:
    """Return arguments with `--name NAME` and `tracking.tags.KEY=VALUE` as overrides that Hydra accepts.

    Raises:
        ConfigError: --name has no value.
    """
    found, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if word == NAME or word.startswith(f"{NAME}="):
            name = word.partition("=")[2] if "=" in word else rest.pop(0) if rest else ""
            require(bool(name), f"{NAME} needs a name: {NAME} 'first try'.")
            word = f"tracking.name={hydra_value(name)}"
        found.append(f"++{word}" if _TAG.match(word) else word)
    return found
