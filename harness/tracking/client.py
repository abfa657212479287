"""MLflow's client for a store, without the defaults that do not suit a command."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping

# Otherwise MLflow prints two lines for each run that ends on a server.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from mlflow.tracking import MlflowClient

from harness.tracking.uri import sqlite_path


def client_of(uri: str) -> MlflowClient:
    """Connect to a store, without MLflow's messages about its database."""
    for name, level in (("mlflow", "WARNING"), ("alembic", "WARNING"), ("mlflow.store.db.utils", "CRITICAL")):
        logging.getLogger(name).setLevel(level)
    # SQLite keeps a `-wal` and a `-shm` file next to a store for as long as a connection to it is open.
    with environment({"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"} if sqlite_path(uri) else {}):
        return MlflowClient(uri)


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the duration of the block, except those that are already set."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
