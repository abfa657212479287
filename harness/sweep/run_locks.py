"""Who trains what on this machine: a file a process, locked while it lives, that names what it has claimed."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

POLL = 0.5


class RunLocks:
    """What processes of this machine and user train with one store; as a context manager it ends with its block."""

    def __init__(self, store: str) -> None:
        """Have a file, with no claim yet.

        Args:
            store: Names it; only those who name the same one see each other.
        """
        self._folder = _place() / hashlib.blake2b(store.encode(), digest_size=8).hexdigest()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._mine: set[str] = set()
        self._kept: set[str] = set()
        self._is_alone = False
        self._path = self._folder / f"{os.getpid()}-{time.monotonic_ns()}.json"
        with self.alone():
            self._file = self._path.open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __enter__(self) -> RunLocks:
        return self

    def __exit__(self, *_: object) -> None:
        with self.alone():
            self._path.unlink(missing_ok=True)
            self._file.close()

    def take(self, names: Iterable[str]) -> set[str]:
        """Claim those of `names` that nobody else has, and return them."""
        with self.alone():
            mine = set(names) - self.others()
            self._write(self._mine | mine)
        return mine

    def keep(self, name: str) -> None:
        """Claim a name for as long as this lives, whoever else has."""
        with self.alone():
            self._kept.add(name)
            self._write(self._mine)

    def drop(self, names: Iterable[str] | None = None) -> None:
        """Let others have names, or all that were taken."""
        with self.alone():
            self._write(set() if names is None else self._mine - set(names))

    def others(self) -> set[str]:
        """Return what processes that are alive have claimed, this one left out."""
        claimed: set[str] = set()
        with self.alone():
            for path in self._folder.glob("*.json"):
                if path == self._path:
                    continue
                with path.open() as file:
                    if _try_lock(file):
                        path.unlink()  # Its process is gone.
                    else:
                        claimed |= set(json.loads(file.read() or "[]"))
        return claimed

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all others waiting who want to claim or to look."""
        if self._is_alone:
            yield
            return
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._is_alone = True
            try:
                yield
            finally:
                self._is_alone = False

    def _write(self, names: set[str]) -> None:
        self._mine = names
        self._file.seek(0)
        self._file.truncate()
        json.dump(sorted(names | self._kept), self._file)
        self._file.flush()


@contextlib.contextmanager
def only_one(name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Keep others of this machine and user out of a block of the same `name`; who waits says so."""
    with (_place() / f"{name}.lock").open("w") as lock:
        if not _try_lock(lock):
            say(f"waiting: another process uses {name}")
            while not _try_lock(lock):
                time.sleep(POLL)
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _place() -> Path:
    """Return this user's folder for what lasts as long as processes do."""
    place = Path(tempfile.gettempdir()) / f"harness-{getpass.getuser()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise PermissionError(f"{place} belongs to somebody else")
    return place
