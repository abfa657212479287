"""Asks a tracking server for its version.

Reason: MLflow's public client has no call for it.
Gain: a server without logged models and dataset inputs is rejected before training, rather than when a record fails.
Test: `tests/tracking/test_team_server.py` asks a server. Fallback: the version is unknown, and nothing is rejected.
"""

from __future__ import annotations

import re
from typing import Any

import requests
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from harness.errors import require
from harness.runtime.secrets import masked

OLDEST = 3
"""The major version that introduced logged models."""


def server_version(uri: str) -> str:
    """Return a server's version; empty for other stores, or if the server does not report it."""
    if not uri.startswith(("http://", "https://")):
        return ""
    try:
        answer: Any = http_request(get_default_host_creds(uri), "/version", "GET")
    except (MlflowException, requests.RequestException):
        return ""
    return answer.text.strip() if answer.ok and re.fullmatch(r"\s*\d+\.\d+[\w.+]*\s*", answer.text) else ""


def require_new_enough(uri: str) -> None:
    """Raise `ConfigError` if a server cannot store the harness's records."""
    version = server_version(uri)
    require(
        not version or int(version.partition(".")[0]) >= OLDEST,
        f"tracking.uri: {masked(uri)} runs MLflow {version}. Upgrade it to MLflow {OLDEST} or newer.",
    )
