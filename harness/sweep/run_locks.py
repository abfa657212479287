"""Tracks which process trains which runs: each lists its claims in a file, next to a lock held while the process lives.

The kernel releases `flock` locks however a process ends. They work between the processes of one machine, and between
machines on network file systems that forward `flock`, as NFS on Linux does unless mounted with `nolock` or
`local_lock`. Without `flock`, `filelock` warns and uses lock files that may outlive a killed process.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from filelock import BaseFileLock, FileLock, Timeout

from harness.errors import ConfigError


class RunLocks:
    """This process's claims on runs of a store; a context manager that releases them."""

    def __init__(self, uri: str) -> None:
        self._folder = _folder(uri)
        self._taken: set[str] = set()
        self._kept: set[str] = set()
        self._claims = self._folder / f"{os.getpid()}-{time.monotonic_ns()}.json"
        self._alive = FileLock(self._claims.with_suffix(".lock"))
        self._everyone = FileLock(self._folder / "lock")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self.exclusive():
                self._write(set())
                self._alive.acquire()
        except OSError as error:
            raise ConfigError(
                f"tracking.uri: cannot create a lock file in {self._folder}: {error.strerror}."
            ) from error

    def __enter__(self) -> RunLocks:
        return self

    def __exit__(self, *_: object) -> None:
        with self.exclusive():
            _remove(self._claims, self._alive)

    def take(self, names: Iterable[str]) -> set[str]:
        """Claim the `names` that no other process has claimed, and return them."""
        with self.exclusive():
            free = set(names) - self.others()
            self._write(self._taken | free)
        return free

    def keep(self, name: str) -> None:
        """Claim `name` until this object is closed, even if another process has claimed it."""
        with self.exclusive():
            self._kept.add(name)
            self._write(self._taken)

    def drop(self, names: Iterable[str] | None = None) -> None:
        """Release the claims on `names`, or by default all claims."""
        with self.exclusive():
            self._write(set() if names is None else self._taken - set(names))

    def others(self) -> set[str]:
        """Return the claims of other live processes."""
        claimed: set[str] = set()
        with self.exclusive():
            for path in self._folder.glob("*.json"):
                if path == self._claims:
                    continue
                lock = FileLock(path.with_suffix(".lock"))
                with contextlib.suppress(Timeout):
                    lock.acquire(blocking=False)
                    _remove(path, lock)  # Its process has ended.
                    continue
                claimed |= set(json.loads(path.read_text()))
        return claimed

    def exclusive(self) -> contextlib.AbstractContextManager[object]:
        """Keep other processes from making or reading claims during the block; blocks may be nested."""
        return self._everyone.acquire()

    def _write(self, names: set[str]) -> None:
        self._taken = names
        self._claims.write_text(json.dumps(sorted(names | self._kept)))


@contextlib.contextmanager
def only_one(name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Let only one of this user's processes at a time run the block called `name`; `say` reports having to wait."""
    lock = FileLock(_user_folder() / f"{name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"waiting: another process is using {name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _remove(claims: Path, lock: BaseFileLock) -> None:
    claims.unlink(missing_ok=True)
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _folder(uri: str) -> Path:
    """Return the folder for a store's locks: next to a database file, or for a server, this user's temporary folder."""
    scheme, found, path = uri.partition(":///")
    if found and scheme == "sqlite":
        database = Path(path).resolve()
        return database.parent / ".harness" / "locks" / database.name
    parts = urlsplit(uri)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    return _user_folder() / hashlib.blake2b(address.encode(), digest_size=8).hexdigest()


def _user_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"harness-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder
