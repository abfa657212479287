"""Tracking URIs: the one in use, and the file behind it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harness.errors import ConfigError, require
from harness.runtime.secrets import remember

_SQLITE = "sqlite:///"
_LOCAL = re.compile(r"sqlite(?:\+\w+)?://(/?)([^?]*)(\?.*)?", re.DOTALL)


def tracking_uri(uri: str | None = None) -> str:
    """Return the tracking URI in use: `uri`, else `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working folder.

    All URIs of a local file are normalized to the same one, with an absolute path and resolved links. A password in the
    URI is masked from now on.

    Raises:
        ConfigError: The URI refers to a database in memory, has options, or is the path of a file or folder.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    remember(uri)
    path = sqlite_path(uri)
    return sqlite_uri(path) if path else uri


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a local store, or None for other stores; `%` and two hexadecimal digits encode a character.

    Raises:
        ConfigError: The URI refers to a database in memory, has options, or is the path of a file or folder.
    """
    found = _LOCAL.fullmatch(uri)
    if not found:
        _require_scheme(uri)
        return None
    slash, name, options = found[1], unquote(found[2]), found[3]
    require(not options, f"tracking.uri: {uri}: options are not supported. Write %3F for a question mark in a path.")
    require(
        bool(name) and not name.startswith((":memory:", "file:")) and "\0" not in name,
        f"tracking.uri: {uri} does not name a file that would keep the records. Write {_SQLITE}mlflow.db.",
    )
    require(
        bool(slash),
        f"tracking.uri: {uri} has too few slashes. Write {_SQLITE}{name}, or four slashes for an absolute path.",
    )
    return Path(os.path.realpath(name))


def _require_scheme(uri: str) -> None:
    """Reject a path, which MLflow would take for a folder of files; it discourages such stores."""
    path = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
    is_path = path != uri or not (":" in uri or uri.startswith("databricks"))
    if is_path and not os.environ.get("MLFLOW_ALLOW_FILE_STORE"):
        file = path if Path(path).suffix else f"{path.rstrip('/')}/mlflow.db"
        raise ConfigError(f"tracking.uri: {uri} does not name a database or a server. Write {_SQLITE}{file}.")


def sqlite_uri(path: Path) -> str:
    """Return the URI of a local file, with only `%` and `?` percent-encoded."""
    return _SQLITE + str(path).replace("%", "%25").replace("?", "%3F")


def mlflow_uri(uri: str) -> str:
    """Return `uri` in the form that MLflow needs, since it would take a percent-encoded folder name literally."""
    return uri.replace(_SQLITE, "sqlite+pysqlite:///", 1) if uri.startswith(_SQLITE) and "%" in uri else uri


def file_path(address: str) -> Path | None:
    """Return the path in a `file:` URL, or None for any other address."""
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
