"""Checks which local MLflow stores this version can read and write with its own SQL.

MLflow's tables are private. `_compat_sqlite` and `_compat_history` use them only in stores with a tested schema
revision, and MLflow's client everywhere else. `tests/tracking/test_compat_sqlite.py` fails when the installed MLflow
creates stores with another revision. If it fails, compare the tables, then add the revision here.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

TESTED_REVISIONS = ("dc11669786a5",)
"""`alembic_version` of the stores that MLflow 3.17 creates."""

_BUSY_SECONDS = 20
"""How long SQLite waits for other writers; MLflow's own connections wait as long."""


class UntestedSchema(Exception):
    """The store's tables differ from those for which the SQL was written."""


@contextlib.contextmanager
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """Connect to a store.

    Raises:
        UntestedSchema: The store has an untested schema revision, or lacks a table or a column.
    """
    opened = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    with contextlib.closing(opened) as store:
        try:
            revisions = store.execute("SELECT version_num FROM alembic_version").fetchall()
            if revisions not in [[(revision,)] for revision in TESTED_REVISIONS]:
                raise UntestedSchema(path)
            yield store
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # Not an outage: the SQL does not match the tables.
                raise UntestedSchema(path) from error
            raise
