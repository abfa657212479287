"""Tracking URIs: which one is in use, and the file behind it."""

from __future__ import annotations

import os
from pathlib import Path

_SQLITE = "sqlite:///"


def tracking_uri(uri: str | None = None) -> str:
    """Return the tracking URI in use: `uri`, else `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working folder.

    The path of a local file is made absolute, so that it names the same store from any folder.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    path = sqlite_path(uri)
    return f"{_SQLITE}{path}" if path else uri


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a local store, or None for any other store."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None
