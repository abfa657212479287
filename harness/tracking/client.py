"""MLflow's client for a store, without defaults that are unsuitable for a command."""

from __future__ import annotations

import logging
import os

# Otherwise MLflow prints two lines for each run that ends on a server and, if tqdm is installed, a bar per file.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow.tracking import MlflowClient

from harness.runtime.environment import default_environment
from harness.tracking._compat_moved import follow_move
from harness.tracking.connections import close_after_requests
from harness.tracking.uri import mlflow_uri, sqlite_path


def client_of(uri: str) -> MlflowClient:
    """Connect to a store, which may have been moved, without MLflow's messages about its database."""
    close_after_requests()
    path = sqlite_path(uri)
    if path:
        follow_move(path)
    for name, level in (("mlflow", "WARNING"), ("alembic", "WARNING"), ("mlflow.store.db.utils", "CRITICAL")):
        logging.getLogger(name).setLevel(level)
    # SQLite keeps a `-wal` and a `-shm` file next to a store for as long as a connection to it is open.
    with default_environment({"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"} if path else {}):
        return MlflowClient(mlflow_uri(uri))
