"""Lets a local store follow its folder when the folder is moved, renamed or copied together with its artifacts.

Reason: MLflow keeps absolute addresses of artifacts in its tables, and has no public way to change them.
Gain: a moved folder keeps working, including in MLflow's own pages, and nothing is written to the old location.
Test: `tests/tracking/test_moved.py` moves stores; `tests/cli/test_moved.py` uses them. Fallback: stores with an
untested schema revision are not changed, so a moved store has no artifacts.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from harness.tracking._compat_schema import UntestedSchema, connection
from harness.tracking.store_identity import IDENTITY
from harness.tracking.uri import file_path

FOLDERS = ("mlartifacts", "mlruns")
"""Folders next to a store that hold the artifacts of its experiments: the harness's own, and MLflow's default."""

_ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}

_KNOW_AGAIN = """
    UPDATE experiment_tags SET value = json_set(value, '$.path', ?, '$.inode', ?) WHERE key = ? AND json_valid(value)"""

_MOST_RUNS = 1000
"""Maximum number of runs to look for at the current location."""


def follow_move(path: Path) -> None:
    """Correct the addresses in the store at `path` if its artifacts were moved with it; otherwise, change nothing."""
    with contextlib.suppress(UntestedSchema, sqlite3.Error), connection(path) as store:
        here = path.parent.as_uri().rstrip("/")
        places = [place for (place,) in store.execute("SELECT artifact_location FROM experiments") if place]
        roots = {_root(place) for place in places} - {here, ""}
        moved = [root for root in sorted(roots) if _has_moved(store, root, path.parent)]
        if not moved:
            return
        store.execute("BEGIN IMMEDIATE")
        for root in moved:
            for table, columns in _ADDRESSES.items():
                for column in columns:
                    _replace(store, table, column, root, here)
        if not _is_copy(store):
            store.execute(_KNOW_AGAIN, [str(path), path.stat().st_ino, IDENTITY])
        store.execute("COMMIT")


def _is_copy(store: sqlite3.Connection) -> bool:
    """Return True if the store from which this one was copied still exists, and therefore keeps its name."""
    query = "SELECT json_extract(value, '$.path') FROM experiment_tags WHERE key = ? AND json_valid(value)"
    return any(place and Path(str(place)).is_file() for (place,) in store.execute(query, [IDENTITY]))


def _root(address: str) -> str:
    """Return the address of the folder that held the store when an experiment was created; empty if unknown."""
    root, *rest = address.rstrip("/").rsplit("/", 2)
    return root if address.startswith("file:") and len(rest) == 2 and rest[0] in FOLDERS else ""


def _has_moved(store: sqlite3.Connection, root: str, folder: Path) -> bool:
    """Return True if the artifacts of a run recorded under `root` are in `folder`, or if there are no runs."""
    before = file_path(root or "file:/")
    if before is None or (before.is_dir() and before.samefile(folder)):
        return False
    query = "SELECT artifact_uri FROM runs WHERE substr(artifact_uri, 1, ?) = ? ORDER BY start_time DESC LIMIT ?"
    runs = store.execute(query, [len(root) + 1, f"{root}/", _MOST_RUNS]).fetchall()
    if not runs:
        return not before.is_dir()
    places = [file_path(address) for (address,) in runs]
    return any((folder / place.relative_to(before)).is_dir() for place in places if place)


def _replace(store: sqlite3.Connection, table: str, column: str, root: str, here: str) -> None:
    for name in FOLDERS:
        prefix = f"{root}/{name}/"
        store.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
            [here, len(root) + 1, len(prefix), prefix],
        )
