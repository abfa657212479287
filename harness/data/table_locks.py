"""Locks on tables: exclusive while one is made or removed, shared while one is used.

Making is locked by `filelock`. Use is locked by flock on the table's own `table.json`: the lock disappears with the
table, and the kernel releases it however the process ends. filelock's `ReadWriteLock` would leave an SQLite database
beside each table, and needs a later release.

Both locks hold between processes of one machine on local file systems, and between machines on NFS with locking. On
some SMB and FUSE mounts they hold on one machine only: tables stay whole there, since they are renamed into place, but
do not run `harness clean` while another machine trains.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from harness.data.table import MANIFEST

_held: dict[Path, int] = {}


def making(cache: Path, name: str) -> FileLock:
    """Return the lock for making the table or data called `name` in a cache."""
    (cache / "locks").mkdir(parents=True, exist_ok=True)
    return FileLock(cache / "locks" / f"{name}.lock")


def hold(folder: Path) -> None:
    """Mark a table as used until this process ends, so that it is not removed.

    Raises:
        FileNotFoundError: It has just been removed.
    """
    path = folder / MANIFEST
    if folder not in _held or not path.exists():
        release(folder)
        file = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            path.stat()  # Whoever had the lock may have removed it.
        except OSError:
            os.close(file)
            raise
        _held[folder] = file
    with contextlib.suppress(PermissionError):
        os.utime(path)  # Records when the table was last used.


def release(folder: Path) -> None:
    """End this process's use of a table."""
    if (file := _held.pop(folder, None)) is not None:
        os.close(file)


@contextlib.contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Lock a table against use; yield False if a process is using it."""
    with (folder / MANIFEST).open("r+b") as file:  # NFS demands a file opened for writing.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
