"""The meaning of each configuration key, read from the docstrings of the schema."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from typing import Any, NamedTuple


class Key(NamedTuple):
    """A key of the configuration: its name, its default as written ("" if it has none), and its meaning."""

    name: str
    default: str
    meaning: str


def keys(schema: type, prefix: str = "") -> list[Key]:
    """Return the keys of a dataclass, excluding those of its base classes and sections."""
    bases = [base for base in schema.__bases__ if dataclasses.is_dataclass(base)]
    above = {field.name for base in bases for field in dataclasses.fields(base)}
    told = meanings(schema)
    own = [field for field in dataclasses.fields(schema) if field.name not in above]
    return [Key(prefix + field.name, default_of(field), told[field.name].replace("None", "null")) for field in own]


def meanings(schema: type) -> dict[str, str]:
    """Return the meaning of each attribute, from the docstring."""
    lines = (schema.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", lines, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def default_of(field: dataclasses.Field) -> str:
    """Return a field's default as written on the command line; empty if it has none."""
    if field.default is not dataclasses.MISSING:
        return written(field.default)
    return "" if field.default_factory is dataclasses.MISSING else written(field.default_factory())


def written(value: Any) -> str:
    """Return a value as written on the command line."""
    if isinstance(value, enum.Enum):
        return str(value.value)
    if dataclasses.is_dataclass(value):
        return ""
    return value if isinstance(value, str) else json.dumps(value)
