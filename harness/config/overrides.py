"""Quotes `KEY=VALUE` arguments so that first the shell and then Hydra read them as intended."""

from __future__ import annotations

import re
import shlex
from enum import Enum

_PLAIN = re.compile(r"(?!(?i:true|false|null|nan|inf)$)(?!.*\$\{)[A-Za-z_/.%?@$-][A-Za-z0-9_/.%?@$-]*")
"""Text that Hydra reads literally, not as a number or another kind of value."""

_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe", " ": "space"}
"""Names for characters that are hard to type."""

_MARKS = ("data.delimiter", "data.decimal", "data.thousands", "data.comment")
"""Keys that take such a name."""


def hydra_value(value: object) -> str:
    """Return a value in Hydra's syntax."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(hydra_value, value))}]"
    if value is None:
        return "null"
    if isinstance(value, Enum):
        return hydra_value(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and not re.fullmatch(r"-?\.?[0-9].*|-?(?i:inf|nan)", text):
        return text
    # Only backslashes before a quote or the end must be doubled.
    return '"' + re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), text) + '"'


def override(key: str, value: object) -> str:
    """Return `key=value` as a shell argument; a character that is hard to type is replaced with its name."""
    if key in _MARKS and isinstance(value, str):
        value = _NAMES.get(value, value)
    return shlex.quote(f"{key}={hydra_value(value)}")
