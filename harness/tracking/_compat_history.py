"""Reads the metric histories of many runs at once.

Reason: MLflow's public client reads one metric of one run per call.
Gain: five metrics of 64 runs take 0.01 s instead of 0.2 s (local store), or 0.2 s instead of 1.9 s (server).
Test: `tests/tracking/test_compat_history.py` compares the points with those of MLflow's client.
Fallback: `MlflowClient.get_metric_history` is used for stores with an untested schema revision, databases on a server,
and MLflow servers that do not support the request that their own pages use.
"""

from __future__ import annotations

import itertools
import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from harness.tracking._compat_schema import UntestedSchema, connection
from harness.tracking.connections import REQUESTS_AT_ONCE
from harness.tracking.uri import sqlite_path

Point = tuple[str, str, int, float]
"""A run's id, a metric, a step and a value."""

_ENDPOINT = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
POINTS_PER_ANSWER = 25_000
"""The maximum number of points that a server returns."""

_RUNS_PER_REQUEST = 20


def histories(
    client: MlflowClient,
    uri: str,
    run_ids: Sequence[str],
    metrics: Sequence[str],
    points_per_answer: int = POINTS_PER_ANSWER,
) -> list[Point]:
    """Return all points of some metrics of some runs; the points of a metric are sorted by time, step and value."""
    path = sqlite_path(uri)
    try:
        if path:
            return _from_file(path, run_ids, metrics)
        if uri.startswith(("http://", "https://")):
            return list(_from_server(client, uri, run_ids, metrics, points_per_answer))
    except (UntestedSchema, sqlite3.Error, requests.RequestException, MlflowException, LookupError, ValueError):
        pass
    return list(public_histories(client, run_ids, metrics))


def public_histories(client: MlflowClient, run_ids: Iterable[str], metrics: Sequence[str]) -> Iterator[Point]:
    """Yield the same points as `histories`, read with MLflow's public client."""
    for metric, run_id in itertools.product(metrics, run_ids):
        found = client.get_metric_history(run_id, metric)
        for point in sorted(found, key=lambda point: (point.timestamp, point.step, point.value)):
            yield run_id, metric, point.step, point.value


def _from_file(path: Path, run_ids: Sequence[str], metrics: Sequence[str]) -> list[Point]:
    query = """
        SELECT step, value, is_nan FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY timestamp, step, value"""
    with connection(path) as store:
        return [
            (run_id, metric, step, math.nan if is_nan else value)
            for metric, run_id in itertools.product(metrics, run_ids)
            for step, value, is_nan in store.execute(query, (run_id, metric))
        ]


def _from_server(
    client: MlflowClient, uri: str, run_ids: Sequence[str], metrics: Sequence[str], limit: int
) -> Iterator[Point]:
    server = get_default_host_creds(uri)

    def points_of(metric: str, some: Sequence[str]) -> list[Point]:
        query = {"run_id": list(some), "metric_key": metric, "max_results": limit}
        answer: Any = http_request(server, _ENDPOINT, "GET", params=query)
        answer.raise_for_status()
        points = answer.json()["metrics"]
        if len(points) < limit:
            return [(point["run_id"], metric, int(point["step"]), float(point["value"])) for point in points]
        return list(public_histories(client, some, [metric]))  # The response may have been truncated.

    groups = [run_ids[start : start + _RUNS_PER_REQUEST] for start in range(0, len(run_ids), _RUNS_PER_REQUEST)]
    wanted = list(itertools.product(metrics, groups))
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        for points in pool.map(points_of, *zip(*wanted, strict=True)) if wanted else ():
            yield from points
