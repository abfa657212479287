"""Tracks which process trains which runs: each lists its claims in a file, next to a lock that it holds while alive.

The kernel releases `flock` locks however a process ends. They work between processes on one machine, and between
machines on network file systems that forward `flock`, as NFS on Linux does unless mounted with `nolock` or
`local_lock`. Without `flock`, `filelock` warns and uses lock files that may outlive a killed process.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from filelock import BaseFileLock, FileLock, Timeout
from mlflow.entities import Run as Record
from mlflow.tracking import MlflowClient
from pydantic import TypeAdapter

from harness.errors import ConfigError
from harness.runtime.state_files import StateError, read_json, set_aside_unless_file, write_json
from harness.runtime.user_folder import user_folder
from harness.tracking.store_identity import store_identity
from harness.tracking.uri import sqlite_path

BESIDE_STORE = "beside the store"

_CLAIMS, _FOLDER = "claims 1", "claims folder 1"
_NAMES, _ID = TypeAdapter(list[str]), TypeAdapter(str)
_PROCESS = re.compile(r"[0-9]+-[0-9a-f]+")


def claims_folder(uri: str, client: MlflowClient) -> Path:
    """Return the folder for the claims on a store's runs; it does not depend on how the store is addressed.

    It is next to the database file or, for any other store, in this user's folder on this machine.
    """
    path = sqlite_path(uri)
    parent = path.parent / ".harness" / "locks" if path else user_folder()
    return parent / store_identity(uri, client)


def locks_of(uri: str, client: MlflowClient) -> RunLocks:
    """Return this process's claims on the runs of a store, however the store is addressed.

    Raises:
        ConfigError: The folder of the claims cannot be written to.
    """
    return RunLocks(claims_folder(uri, client), is_beside_store=sqlite_path(uri) is not None)


class RunLocks:
    """This process's claims on runs of a store; as a context manager, it releases them on exit.

    Attributes:
        place: Identifies where claims are kept: next to the store, or in a folder on this machine.
    """

    def __init__(self, folder: Path, *, is_beside_store: bool = False) -> None:
        """Create the folder if it does not exist, without claiming anything.

        Args:
            folder: See `claims_folder`.
            is_beside_store: Whether it belongs to a database file. If so, all processes that use the file or a copy of
                it keep their claims in the same place.

        Raises:
            ConfigError: The folder cannot be written to.
        """
        self._folder = folder
        self._taken: set[str] = set()
        self._kept: set[str] = set()
        self._claims = folder / f"{os.getpid()}-{uuid.uuid4().hex}.json"
        self._alive = FileLock(self._claims.with_suffix(".lock"))
        self._everyone = FileLock(folder / "lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self.exclusive():
                self.place = BESIDE_STORE if is_beside_store else _place(folder.parent / "place")
                self._write(set())
                self._alive.acquire()
        except OSError as error:
            raise ConfigError(f"tracking.uri: cannot create a lock file in {folder}: {error.strerror}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.exclusive():
            _remove(self._claims, self._alive)

    def take(self, names: Iterable[str]) -> set[str]:
        """Claim the `names` that no other process has claimed, and return them."""
        with self.exclusive():
            free = set(names) - RunLocks.others(self)  # Only those of this machine, even in a subclass.
            self._write(self._taken | free)
        return free

    def keep(self, name: str) -> None:
        """Claim `name` until this object is closed, even if another process has claimed it."""
        with self.exclusive():
            self._kept.add(name)
            self._write(self._taken)

    def drop(self, names: Iterable[str] | None = None) -> None:
        """Release the claims on `names`, by default all claims."""
        with self.exclusive():
            self._write(set() if names is None else self._taken - set(names))

    def others(self) -> set[str]:
        """Return the claims of other live processes.

        Raises:
            ConfigError: The claims of a live process cannot be read.
        """
        claimed: set[str] = set()
        with self.exclusive():
            for path in self._others():
                try:
                    claimed |= {*read_json(path, _CLAIMS, _NAMES)}
                except StateError as error:
                    process = path.name.partition("-")[0]
                    raise ConfigError(f"{error} It lists the runs of process {process}; wait for it to end.") from error
        return claimed

    @property
    def owner(self) -> dict[str, str]:
        """The tags of runs that this process trains."""
        return self._machine

    @property
    def process(self) -> str:
        """The name of this process's claims, for `is_alive`."""
        return self._claims.stem

    def is_alive(self, process: str) -> bool:
        """Return True if a process that keeps its claims here is alive."""
        path = self._folder / f"{process}.lock"
        if not _PROCESS.fullmatch(process) or process == self.process or not path.is_file():
            return process == self.process
        lock = FileLock(path)
        with contextlib.suppress(Timeout), lock.acquire(blocking=False):
            return False
        return True

    def knows(self, record: Record) -> bool:
        """Return True if the process that trains a run would be seen here if it were alive."""
        return self._is_here(record.data.tags)

    def reserve(self, names: Iterable[str]) -> set[str]:
        """Keep other machines from training the runs in `names`, and return those that no other machine is training."""
        return set(names)

    def exclusive_for(self, name: str, say: Callable[[str], None]) -> contextlib.AbstractContextManager[object]:
        """Like `exclusive`, but also make processes on other machines wait if they use the same `name`."""
        del name, say
        return self.exclusive()

    def exclusive(self) -> contextlib.AbstractContextManager[object]:
        """Keep other processes from creating or reading claims during the block; blocks may be nested."""
        return self._everyone.acquire()

    @property
    def _machine(self) -> dict[str, str]:
        return {"host": socket.gethostname(), "claims": self.place}

    def _is_here(self, tags: Mapping[str, str]) -> bool:
        """Return True if these tags are of a process that keeps its claims here."""
        return self._machine.items() <= tags.items()

    def _others(self) -> Iterator[Path]:
        """Yield the files of other live processes, and remove those of dead ones."""
        for path in self._folder.glob("*.json"):
            if path == self._claims:
                continue
            set_aside_unless_file(name := path.with_suffix(".lock"))
            lock = FileLock(name)
            try:
                lock.acquire(blocking=False)
                _remove(path, lock)
            except Timeout:
                yield path

    def _write(self, names: set[str]) -> None:
        self._taken = names
        write_json(self._claims, _CLAIMS, sorted(names | self._kept), durable=False)


@contextlib.contextmanager
def only_one(name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Let only one of this user's processes at a time run the block called `name`; `say` reports a wait."""
    lock = FileLock(user_folder() / f"{name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"waiting: another process is using {name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def only_one_on(devices: Iterable[str], say: Callable[[str], None]) -> Iterator[None]:
    """Let only one of this user's processes at a time use each GPU among `devices`, TensorFlow's names."""
    with contextlib.ExitStack() as held:
        for name in sorted(each for each in devices if "GPU" in each):
            held.enter_context(only_one(f"gpu-{name.rpartition(':')[2]}", say))
        yield


def _place(path: Path) -> str:
    """Return the random text in a file; the file is created if it does not exist or is damaged."""
    with contextlib.suppress(FileNotFoundError, StateError):
        return read_json(path, _FOLDER, _ID)
    write_json(path, _FOLDER, place := uuid.uuid4().hex)
    return place


def _remove(claims: Path, lock: BaseFileLock) -> None:
    set_aside_unless_file(claims)
    claims.unlink(missing_ok=True)
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
