"""Describes what a run was trained on as MLflow dataset inputs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.data.statistics import Column
from harness.data.storage.urls import scheme
from harness.tracking.records import LONGEST_PROFILE, LONGEST_SCHEMA

_FRAME = 100
"""Number of characters of JSON around the columns."""


def dataset_inputs(
    name: str, address: str, digest: str, columns: Sequence[Column], rows: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the fields of one input for each context (`training`, `holdout`, `test`) with rows.

    MLflow keeps one input for each name and digest, so the name includes the context. The profile of the training input
    contains the columns' statistics, which are computed on the training rows. For a very wide table, schema and profile
    describe only as many columns as MLflow can store.
    """
    schema = [
        {"type": "string" if column.is_text else "float", "name": column.name, "required": True} for column in columns
    ]
    profiles: dict[str, dict[str, Any]] = {context: {"num_rows": count} for context, count in rows.items() if count}
    statistics = [(column.name, _statistics(column)) for column in columns]
    profiles["training"]["columns"] = dict(_first(statistics, LONGEST_PROFILE))
    kind = scheme(address).replace("https", "http")
    return [
        {
            "context": context,
            "dataset": {
                "name": f"{name} ({context})",
                "digest": digest,
                "source_type": kind or "local",
                "source": json.dumps({"url" if kind == "http" else "uri": address}),
                "schema": json.dumps({"mlflow_colspec": _first(schema, LONGEST_SCHEMA)}),
                "profile": json.dumps(profile),
            },
        }
        for context, profile in profiles.items()
    ]


def _first(items: Sequence[Any], longest: int) -> list[Any]:
    """Return as many of the first items as fit in `longest` characters of JSON."""
    sizes = itertools.accumulate(len(json.dumps(item)) + 2 for item in items)
    return [item for item, size in zip(items, sizes, strict=True) if size <= longest - _FRAME]


def _statistics(column: Column) -> dict[str, Any]:
    if column.categories:
        return {"count": column.count, "categories": len(column.categories)}
    return {key: getattr(column, key) for key in ("count", "log", "mean", "std", "min", "max")}
