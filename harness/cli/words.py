"""Quotes values with characters that Hydra accepts only in quotes, such as spaces, `~`, `#` and accents.

An argument is changed only if Hydra cannot read it and its meaning is unambiguous.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from harness.config.overrides import hydra_value, override

_WORD = re.compile(r"(\+{0,2}[A-Za-z_][\w.@/]*)=(.*)", re.DOTALL)
_OPENING, _CLOSING = "[({", "])}"


def quote_for_hydra(words: Sequence[str]) -> list[str]:
    """Return the arguments of a command with values quoted where necessary and possible."""
    return [_quoted(word) for word in words]


def _quoted(word: str) -> str:
    found = _WORD.fullmatch(word)
    if not found or word.startswith("-") or _can_parse(word):
        return word
    key, value = found.groups()
    if value.startswith("[") and value.endswith("]"):
        items = _split(value[1:-1])
        fixed = f"{key}=[{','.join(map(_item, items))}]" if items is not None else word
    elif value == "," or ("," not in value and not value.startswith(("[", "{"))):
        fixed = f"{key}={hydra_value(value)}"
    else:
        return word  # It may be one value, or several values of a sweep.
    return fixed if _can_parse(fixed) else word


def suggestion(word: str) -> str:
    """Return a sentence saying how to write an argument that Hydra cannot read; empty if it is not an assignment."""
    found = _WORD.fullmatch(word)
    if not found:
        return ""
    key, value = found.groups()
    if value.endswith(","):
        return "Remove the comma at its end, or the space after the comma."
    if value.startswith(("[", "{")) or value.count("'") % 2 or value.count('"') % 2:
        return ""
    one = override(key, value)
    if "," not in value:
        return f"Write {one}."
    several = ",".join(map(_item, value.split(",")))
    return f"Write {one} for one value, or {shlex.quote(f'{key}={several}')} for several."


def _can_parse(word: str) -> bool:
    key, _, value = word.partition("=")
    if value and not value.strip():
        return False  # Otherwise Hydra would ignore spaces.
    try:
        _parser().parse_override(f"{key.lstrip('+')}={value}").value()
    except HydraException:
        return False
    return True


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _split(text: str) -> list[str] | None:
    """Split a list at commas outside brackets; return None if brackets or quotes do not match."""
    items, depth, start = [], 0, 0
    if '"' in text or "'" in text:
        return None
    for at, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth < 0:
            return None
        if character == "," and depth == 0:
            items.append(text[start:at])
            start = at + 1
    return [*items, text[start:]] if depth == 0 else None


def _item(item: str) -> str:
    return item if item.strip() and _can_parse(f"key={item}") else hydra_value(item.strip() or item)
