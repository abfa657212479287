"""Locks on tables: exclusive while a table is created or removed, shared while it is used.

The lock for creating a table is a `filelock`. The lock for using it is `flock` on its own `table.json`: that lock
disappears with the table, and the kernel releases it however the process ends. filelock's `ReadWriteLock` would leave
an SQLite database next to each table, and needs a newer version.

Both locks work between processes on one machine on local file systems, and between machines on NFS with locking. On
some SMB and FUSE mounts, they work on one machine only. Tables stay intact there, since they are renamed into place,
but do not run `harness clean` while another machine is training.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from harness.data.tables.manifest import MANIFEST
from harness.runtime.state_files import open_own

_held: dict[Path, int] = {}


def making(cache: Path, name: str) -> FileLock:
    """Return the lock for creating the table or data called `name` in a cache."""
    (cache / "locks").mkdir(parents=True, exist_ok=True)
    return FileLock(cache / "locks" / f"{name}.lock")


def hold(folder: Path) -> None:
    """Mark a table as in use until this process ends, so that it is not removed.

    Raises:
        FileNotFoundError: The table has just been removed.
        StateError: Its manifest is not a regular file, or belongs to another user.
    """
    path = folder / MANIFEST
    if not _is_held(folder):
        release(folder)
        with open_own(path) as opened:
            file = os.dup(opened.fileno())
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            path.stat()  # The previous holder of the lock may have removed the table.
        except OSError:
            os.close(file)
            raise
        _held[folder] = file
    with contextlib.suppress(PermissionError):
        os.utime(path)  # Records when the table was last used.


def _is_held(folder: Path) -> bool:
    """Return True if this process uses the table that is there now, which may have replaced an earlier one."""
    held = _held.get(folder)
    with contextlib.suppress(FileNotFoundError):
        return held is not None and os.path.samestat(os.fstat(held), (folder / MANIFEST).lstat())
    return False


def release(folder: Path) -> None:
    """End this process's use of a table."""
    if (file := _held.pop(folder, None)) is not None:
        os.close(file)


@contextlib.contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Lock a table exclusively; yield False if a process is using it."""
    with contextlib.ExitStack() as held:
        yield try_lock(folder / MANIFEST, held)


def try_lock(path: Path, held: contextlib.ExitStack) -> bool:
    """Lock a file exclusively until `held` ends; return False if another process holds it.

    If there is no regular file, no process holds it.
    """
    if path.is_symlink() or not path.is_file():
        return True
    # NFS requires the file to be open for writing.
    mode = os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for its writer.
        number = os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:  # Removed just now.
        return True
    held.callback(os.close, number)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
