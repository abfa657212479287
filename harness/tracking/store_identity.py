"""What a tracking store is, however it is addressed."""

from __future__ import annotations

import hashlib

from mlflow.tracking import MlflowClient

from harness.tracking.uri import sqlite_path


def store_identity(uri: str, client: MlflowClient, experiment_id: str) -> str:
    """Return a name for a store that is the same under all of its addresses; it can be used as a file's name.

    A local store is a file on a device. Any other store is known by what it says about an experiment: when it was
    created and where its artifacts are. Both stay the same, and no two servers create an experiment in the same
    millisecond.
    """
    path = sqlite_path(uri)
    if path:
        status = path.stat()
        return f"{status.st_dev:x}-{status.st_ino:x}"
    experiment = client.get_experiment(experiment_id)
    facts = (experiment_id, experiment.creation_time, experiment.artifact_location)
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()
