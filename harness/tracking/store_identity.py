"""What a tracking store is, however it is addressed."""

from __future__ import annotations

import hashlib

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from harness.tracking.uri import sqlite_path


def store_identity(uri: str, client: MlflowClient) -> str:
    """Return a name for a store that is the same under all of its addresses; it can be used as a file's name.

    A store is known by its oldest experiment: when that was created and where its artifacts are. Both stay the same,
    and no two servers are set up in the same millisecond. A copy of a local store differs in its inode. The device's
    number adds nothing, and may change when the machine restarts.
    """
    path = sqlite_path(uri)
    order = ["creation_time ASC", "experiment_id ASC"]
    (oldest,) = client.search_experiments(ViewType.ALL, max_results=1, order_by=order)
    facts = (
        path.stat().st_ino if path else None,
        oldest.experiment_id,
        oldest.creation_time,
        oldest.artifact_location,
    )
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()
