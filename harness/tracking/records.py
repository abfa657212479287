"""The kinds of records in an outbox, and the validation of a line that holds one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]

_TEXTS = {"*": str}
_DATASET = dict.fromkeys(("name", "digest", "source_type", "source", "schema", "profile"), str)
_SHAPES: dict[str, dict[str, Any]] = {
    "params": {"values": _TEXTS},
    "metrics": {"values": {"*": float}, "step": int, "ms": int},
    "curve": {"key": str, "points": [(int, float)], "ms": int},
    "tags": {"values": _TEXTS},
    "dataset": {"inputs": [{"context": str, "dataset": _DATASET}]},
    "text": {"text": str, "file": str},
    "artifact": {"path": str, "folder": str},
    "model": {"path": str},
    "experiment": {"experiment": str, "key": str, "value": str},
    "end": {"status": str, "ms": int},
}
"""The fields of each kind of record besides `kind` and `run`; the key `*` stands for any key."""


def read_record(line: bytes) -> Record:
    """Return the record in a line.

    Raises:
        ValueError: The line is not a record of this version.
    """
    record = json.loads(line)
    kind = str(record.get("kind")) if isinstance(record, dict) else ""
    if kind not in _SHAPES or not _has_shape(record, {"kind": str, "run": str, **_SHAPES[kind]}):
        raise ValueError("not a record")
    return record


def _has_shape(value: Any, shape: Any) -> bool:
    if isinstance(shape, type):
        return type(value) in ((int, float) if shape is float else (shape,))
    if not isinstance(value, dict if isinstance(shape, dict) else list):
        return False
    if isinstance(shape, dict):
        shapes = dict.fromkeys(value, shape["*"]) if "*" in shape else shape
        return value.keys() == shapes.keys() and all(_has_shape(value[key], shapes[key]) for key in value)
    shapes = shape if isinstance(shape, tuple) else shape * len(value)
    return len(value) == len(shapes) and all(map(_has_shape, value, shapes))
