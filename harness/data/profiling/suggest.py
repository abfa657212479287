"""Chooses a target and features based on a file's profile, and writes the command to train on them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.overrides import override
from harness.data.profiling.profile import ColumnProfile
from harness.data.vocabulary import is_number
from harness.errors import require

TARGETS = ("price", "target", "label", "y")
LIKELY = re.compile(
    r"price|target|label|outcome|class|survived|churn|salary|income|quality|score|sold|medv|mpg|charges|result|diagnosis",
    re.IGNORECASE,
)
MOST_NUMBERS = 8
"""Maximum number of numeric columns to suggest as features: those most correlated with the target."""

MOST_WORDS = 50
"""Maximum number of distinct values of a column to suggest as categorical."""

MOST_EMPTY = 0.5
"""Maximum share of empty fields in a suggested column."""


def choose_target(columns: Sequence[ColumnProfile], wanted: str | None = None) -> ColumnProfile | None:
    """Return the column `wanted`, or else the most likely target.

    A usual name counts most, then part of such a name, then being the last column; codes and mostly empty columns come
    last. Text columns qualify only if they have few values.
    """
    if wanted is not None:
        found = next((column for column in columns if column.name == wanted), None)
        names = ", ".join(column.name for column in columns[:30])
        require(found is not None, f"--target: no column {wanted}. The file has: {names}.")
        return found
    usable = [column for column in columns if is_varied(column) or is_label(column)]
    scored = [(_score(column, index), column) for index, column in enumerate(usable)]
    return max(scored, key=lambda each: each[0])[1] if scored else None


def _score(column: ColumnProfile, index: int) -> tuple[bool, bool, int, bool, bool, int]:
    name = column.name.lower()
    exact = len(TARGETS) - TARGETS.index(name) if name in TARGETS else 0
    is_number = column.is_numeric
    return not _is_sparse(column), not column.is_code, exact, bool(LIKELY.search(name)), is_number, index


def is_varied(column: ColumnProfile) -> bool:
    """Return True for numbers that are not all equal."""
    return column.is_numeric and column.numbers.min < column.numbers.max


def is_label(column: ColumnProfile) -> bool:
    """Return True for text that has few values."""
    most = min(MOST_WORDS, column.count // 2)
    few = column.distinct is not None and 2 <= column.distinct <= most
    return column.kind in ("text", "boolean") and few and not _is_too_large(column)


def _is_sparse(column: ColumnProfile) -> bool:
    return column.empty > MOST_EMPTY * (column.count + column.empty)


def is_category(column: ColumnProfile) -> bool:
    """Return True for text with few values."""
    return column.kind == "text" and is_label(column)


def _is_too_large(column: ColumnProfile) -> bool:
    """Return True for numbers if some of them are beyond the range of float32."""
    return not column.is_words and is_number(column.first_bad)


def suggest(columns: Sequence[ColumnProfile], target: ColumnProfile) -> dict[str, Any]:
    """Return the keys that train on a target; empty if no column can be a feature."""
    others = [column for column in columns if column is not target and not _is_sparse(column)]
    numbers = [column for column in others if is_varied(column)]
    plain = [column for column in numbers if not (column.is_code or column.is_large)]
    ranked = sorted(plain, key=lambda column: -abs(column.correlation))[:MOST_NUMBERS]
    words = [column for column in others if is_category(column)]
    flags = [column for column in others if column.kind == "boolean" and column.distinct == 2]
    dates = [column for column in others if column.kind == "date"]
    chosen = {id(column) for column in (*ranked, *words, *flags, *dates)}
    features = [column for column in columns if id(column) in chosen]
    if not features:
        features = sorted(numbers, key=lambda column: -abs(column.correlation))[:1]  # Codes are a last resort.
    if not features:
        return {}
    settings: dict[str, Any] = {"data.features": [column.name for column in features], "data.target": target.name}
    if used := [column.name for column in words if column in features]:
        settings["data.categorical"] = used
    settings |= date_settings({column.name: column.date_format for column in dates if column in features})
    if target.empty:
        # Rows without a target cannot be used.
        settings["data.missing"] = "drop"
    elif any(column.empty for column in features):
        settings["data.missing"] = "mean"
    if loss := loss_for(target):
        settings["loss"] = loss
        if not is_zero_or_one(target):
            settings["data.categorical"] = [*settings.get("data.categorical", []), target.name]
    return settings


def date_settings(formats: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the keys that read columns as dates in these formats, None for ISO 8601; empty if there are none."""
    if not formats:
        return {}
    forms = [*formats.values()]
    names = {"data.dates": [*formats]}
    if len({*forms}) > 1:
        return names | {"data.date_format": forms}
    return names | ({"data.date_format": forms[0]} if forms[0] else {})


def loss_for(target: ColumnProfile) -> str:
    """Return the loss for a target of labels; empty for a number."""
    if target.kind == "boolean":
        return "binary_crossentropy"
    if target.kind == "text":
        return "binary_crossentropy" if target.distinct == 2 else "sparse_categorical_crossentropy"
    binary = target.kind == "integer" and target.distinct == 2 and target.numbers.max - target.numbers.min == 1
    return "binary_crossentropy" if binary else ""


def is_zero_or_one(target: ColumnProfile) -> bool:
    """Return True if a target's labels are read as 0 and 1."""
    if target.kind == "boolean":
        return True
    return target.kind == "integer" and (target.numbers.min, target.numbers.max) == (0, 1)


def command_for(path: str | Sequence[str], dialect: dict[str, Any], settings: dict[str, Any]) -> str:
    """Return the command, quoted for a shell."""
    arguments = {"data.path": path} | {f"data.{key}": value for key, value in dialect.items()} | settings
    return " ".join(["harness train data=csv", *(override(key, value) for key, value in arguments.items())])
