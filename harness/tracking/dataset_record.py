"""Describes what a run was trained on as MLflow dataset inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.data.statistics import Column
from harness.data.urls import scheme


def dataset_inputs(
    name: str, address: str, digest: str, columns: Sequence[Column], rows: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the fields of one input per context (`training`, `holdout`) that has rows.

    MLflow keeps one input for each name and digest, so the name includes the context. The profile of the training input
    holds the statistics of the columns, which are computed on the training rows.
    """
    schema = [
        {"type": "string" if column.is_text else "float", "name": column.name, "required": True} for column in columns
    ]
    profiles: dict[str, dict[str, Any]] = {context: {"num_rows": count} for context, count in rows.items() if count}
    profiles["training"]["columns"] = {column.name: _statistics(column) for column in columns}
    kind = scheme(address).replace("https", "http")
    return [
        {
            "context": context,
            "dataset": {
                "name": f"{name} ({context})",
                "digest": digest,
                "source_type": kind or "local",
                "source": json.dumps({"url" if kind == "http" else "uri": address}),
                "schema": json.dumps({"mlflow_colspec": schema}),
                "profile": json.dumps(profile),
            },
        }
        for context, profile in profiles.items()
    ]


def _statistics(column: Column) -> dict[str, Any]:
    if column.categories:
        return {"count": column.count, "categories": len(column.categories)}
    return {key: getattr(column, key) for key in ("count", "log", "mean", "std", "min", "max")}
