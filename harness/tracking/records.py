"""The kinds of records that wait in an outbox, and the check of a line that holds one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Record = Mapping[str, Any]


def _is(*types: type) -> Callable[[object], bool]:
    return lambda value: type(value) in types


_is_text, _is_whole, _is_number = _is(str), _is(int), _is(int, float)


def _maps_to(of: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(map(of, value.values()))


def _are_points(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(point, list) and len(point) == 2 and _is_whole(point[0]) and _is_number(point[1]) for point in value
    )


def _are_inputs(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and _is_text(entry.get("context"))
        and _maps_to(_is_text)(entry.get("dataset"))
        and entry["dataset"].keys() == {"name", "digest", "source_type", "source", "schema", "profile"}
        for entry in value
    )


_FIELDS: dict[str, dict[str, Callable[[object], bool]]] = {
    "params": {"values": _maps_to(_is_text)},
    "metrics": {"values": _maps_to(_is_number), "step": _is_whole, "ms": _is_whole},
    "curve": {"key": _is_text, "points": _are_points, "ms": _is_whole},
    "tags": {"values": _maps_to(_is_text)},
    "dataset": {"inputs": _are_inputs},
    "text": {"text": _is_text, "file": _is_text},
    "artifact": {"path": _is_text, "folder": _is_text},
    "model": {"path": _is_text},
    "experiment": {"experiment": _is_text, "key": _is_text, "value": _is_text},
    "end": {"status": _is_text, "ms": _is_whole},
}


def read_record(line: bytes) -> Record:
    """Return the record in a line.

    Raises:
        ValueError: The line is not a record of this version.
    """
    record = json.loads(line)
    kind = record.get("kind") if isinstance(record, dict) else None
    if not isinstance(kind, str) or kind not in _FIELDS or not _is_text(record.get("run")):
        raise ValueError("not a record")
    for name, is_valid in _FIELDS[kind].items():
        if not is_valid(record.get(name)):
            raise ValueError(f"{kind}: {name}")
    return record
