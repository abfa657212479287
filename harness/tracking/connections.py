"""Closes this process's connections to databases, for which MLflow has no call.

SQLite keeps a `-wal` and a `-shm` file beside a store for as long as a connection to it is open.
"""

from __future__ import annotations

import atexit
import weakref
from pathlib import Path

import sqlalchemy
import sqlalchemy.event

_engines: weakref.WeakSet[sqlalchemy.Engine] = weakref.WeakSet()


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "engine_connect")
def _remember(connection: sqlalchemy.Connection) -> None:
    _engines.add(connection.engine)


def close_connections(path: Path | None = None) -> None:
    """Close all connections, or only those to one SQLite file."""
    for engine in list(_engines):
        if path is None or engine.url.database == str(path):
            engine.dispose()


atexit.register(close_connections)
