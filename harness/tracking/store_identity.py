"""Identifies a tracking store, however it is addressed and wherever it was moved."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from mlflow.entities import Experiment, LifecycleStage, ViewType
from mlflow.tracking import MlflowClient

from harness.tracking.uri import sqlite_path

IDENTITY = "harness.store"
"""Tag of the oldest experiment of a local store: the store's name, and its last known path and inode."""

_NAME = re.compile("[0-9a-f]{16}")


def store_identity(uri: str, client: MlflowClient) -> str:
    """Return a name for a store that is the same for all of its addresses and can be used in file names.

    A server is identified by its oldest experiment: its creation time and the location of its artifacts. Neither
    changes, and no two servers are set up in the same millisecond. A local store keeps its name in a tag. A copy has a
    different path and inode, and therefore a different name, unless its artifacts were copied with it.
    """
    return _identity(uri, _oldest(client))


def keep_identity(uri: str, client: MlflowClient) -> str:
    """Like `store_identity`, but also write the name to a local store, so that the name survives moving the folder."""
    oldest = _oldest(client)
    name, path = _identity(uri, oldest), sqlite_path(uri)
    if path and oldest.lifecycle_stage == LifecycleStage.ACTIVE:
        note = json.dumps({"name": name, "path": str(path), "inode": path.stat().st_ino})
        if oldest.tags.get(IDENTITY) != note:
            client.set_experiment_tag(oldest.experiment_id, IDENTITY, note)
    return name


def _oldest(client: MlflowClient) -> Experiment:
    order = ["creation_time ASC", "experiment_id ASC"]
    (oldest,) = client.search_experiments(ViewType.ALL, max_results=1, order_by=order)
    return oldest


def _identity(uri: str, oldest: Experiment) -> str:
    path = sqlite_path(uri)
    inode = path.stat().st_ino if path else None
    noted = _noted(oldest.tags.get(IDENTITY, ""))
    if path and (noted.get("path") == str(path) or noted.get("inode") == inode):
        return noted["name"]
    facts = inode, oldest.experiment_id, oldest.creation_time, oldest.artifact_location
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()


def _noted(text: str) -> dict[str, Any]:
    """Return the content of a tag; empty if the harness cannot have written it."""
    try:
        noted = json.loads(text)
    except ValueError:
        return {}
    is_valid = isinstance(noted, dict) and isinstance(noted.get("name"), str) and _NAME.fullmatch(noted["name"])
    return noted if is_valid else {}
