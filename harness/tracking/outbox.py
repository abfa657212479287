"""Queues records for MLflow in a file, so that nothing is lost if the store or this process becomes unavailable.

An outbox is locked by the process that writes to it. The lock ends with that process on local disks and wherever
`flock` works across machines (NFS 4, Lustre mounted with `flock`); elsewhere, give each machine its own
`runtime.cache`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from harness.runtime.state_files import (
    StateError,
    check_own_folder,
    may_pass,
    moved_aside,
    open_own,
    read_json,
    set_aside_unless_file,
    write_json,
)
from harness.tracking.records import InvalidRecord, Record, from_line, to_line

BYTES_IN_MEMORY = 1 << 20
"""Bytes of records to read at once."""

LONGEST_FILE = 1 << 24
"""Files larger than this are emptied as soon as all of their records are delivered."""

_NOTE_KIND, _NOTE = "delivered 1", TypeAdapter(tuple[str, int])


class StoreUnreachable(Exception):
    """The store stayed unreachable for the maximum waiting time; undelivered records remain in the outbox."""


class RecordRejected(Exception):
    """A record could not be delivered although the store is reachable; the message is a sentence."""


class LeaseLost(Exception):
    """Another process may now train this process's runs, so this one writes nothing more; the message is a sentence."""


@dataclass
class Taken:
    """Records taken from an outbox.

    Attributes:
        bad: Lines that are not records.
        fault: What is wrong with the first of these lines.
        incomplete: The runs to which lines refer that are intact, but not records of this version.
    """

    records: list[Record] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)
    fault: str = ""
    incomplete: set[str] = field(default_factory=set)


class Outbox:
    """A queue of records in a file, one per line.

    Attributes:
        path: The file.
        files: The folder for records' files.
        rejected: Where to keep lines that are not records, and records that the store rejects.
        is_damaged: Whether a line was damaged or rejected, possibly in an earlier process; any run may lack a record.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        bytes_in_memory: int = BYTES_IN_MEMORY,
        longest_file: int = LONGEST_FILE,
    ) -> None:
        """Open the file and lock it.

        Raises:
            filelock.Timeout: Another process is using it.
            FileNotFoundError: The file does not exist, and `create` is False.
            StateError: It is not a regular file of this user, or another user can write to its folder.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        check_own_folder(path.parent)
        self.path = path
        self.rejected = path.with_suffix(".rejected")
        self.files, self._note = path.with_suffix(".files"), _note_of(path)
        self.is_damaged = self.rejected.exists()
        self._bytes_in_memory, self._longest_file = bytes_in_memory, longest_file
        set_aside_unless_file(lock_of(path))
        self._lock = FileLock(lock_of(path), thread_local=False)
        self._lock.acquire(blocking=False)
        try:
            self._file = _open(path, create=create)
        except BaseException:
            self._release()  # The process that wrote it may have just delivered everything.
            raise
        self._length = self._whole_lines()
        set_aside_unless_file(self._note)
        self._delivered = min(_delivered(path), self._length)
        self._taken = self._delivered
        self._writing = threading.Lock()

    def append(self, record: Record) -> None:
        """Add a record."""
        line = to_line(record)
        with self._writing:
            if os.write(self._file, line) < len(line):
                os.ftruncate(self._file, self._length)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self._length += len(line)

    def sync(self) -> None:
        """Flush all records to disk."""
        os.fsync(self._file)

    def take(self) -> Taken:
        """Return the oldest undelivered records, up to about a megabyte."""
        lines = self._lines(self._delivered)
        self._taken = self._delivered + sum(map(len, lines)) if lines else self._length
        taken = Taken()
        for line in lines:
            try:
                taken.records.append(from_line(line))
            except ValueError as error:
                taken.bad.append(line)
                taken.fault = taken.fault or str(error)
                if isinstance(error, InvalidRecord):
                    taken.incomplete.add(error.run)
                else:
                    self.is_damaged = True
        return taken

    def mark_delivered(self) -> None:
        """Mark all records taken so far as delivered."""
        with self._writing:
            self._delivered = self._taken
            is_to_be_emptied = self._delivered == self._length > self._longest_file
            if is_to_be_emptied:
                # The old note would mark records added from now on as delivered.
                write_json(self._note, _NOTE_KIND, [self.path.name, 0])
                os.ftruncate(self._file, 0)
                self._length = self._delivered = 0
        if not is_to_be_emptied:
            write_json(self._note, _NOTE_KIND, [self.path.name, self._delivered], durable=False)

    def reject(self, lines: Iterable[bytes]) -> None:
        """Keep lines that cannot be delivered in `rejected`."""
        set_aside_unless_file(self.rejected)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(self.rejected, flags, 0o600), "ab") as file:
            file.writelines(lines)

    @property
    def pending(self) -> bool:
        """Whether there are undelivered records."""
        return self._delivered < self._length

    def new_folder(self) -> Path:
        """Create a folder for a record's files; it is deleted once all records are delivered."""
        folder = self.files.absolute() / str(time.monotonic_ns())
        folder.mkdir(parents=True)
        return folder

    def own(self, path: Path) -> str:
        """Return a path in `files` as it is written in a record."""
        return path.relative_to(self.files.absolute()).as_posix()

    def file_of(self, name: str) -> Path:
        """Return the path of a record's file or folder.

        Raises:
            StateError: The path, or something in it, is not a regular file, or belongs to another user.
        """
        path = self.files.absolute() / name
        for folder in (self.files, path.parent):
            check_own_folder(folder)
        _check_own_tree(path)
        return path

    def close(self) -> None:
        """Release the file, and delete it if all of its records are delivered."""
        os.close(self._file)
        if self.pending:
            self._lock.release()
            return
        if self.files.is_symlink():
            self.files.unlink()
        shutil.rmtree(self.files, ignore_errors=True)
        for path in (self._note, self.path):
            with contextlib.suppress(IsADirectoryError):
                path.unlink(missing_ok=True)
        for left in self.path.parent.glob(f".{self._note.name}.*"):  # Left by a process that was killed while writing.
            left.unlink(missing_ok=True)
        self._release()
        with contextlib.suppress(OSError):  # The folder may hold other outboxes.
            self.path.parent.rmdir()

    def _release(self) -> None:
        lock_of(self.path).unlink(missing_ok=True)
        self._lock.release()

    def _whole_lines(self) -> int:
        """Return the length of the file up to its last line break; a last line without one is incomplete."""
        end = os.fstat(self._file).st_size
        while end > 0:
            start = max(end - self._bytes_in_memory, 0)
            found = os.pread(self._file, end - start, start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0

    def _lines(self, start: int) -> list[bytes]:
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(start)
            return [line for line in file.readlines(self._bytes_in_memory) if line.endswith(b"\n")]


def new_outbox(folder: Path, store: str) -> Outbox:
    """Create an outbox in `folder` for a store, given its identity."""
    # Sorts after all others, even if the clock was set back.
    numbers = [path.stem.rpartition("-")[2] for path in folder.glob(f"{store}-*.jsonl")]
    number = max([time.time_ns(), *(int(number) + 1 for number in numbers if number.isdecimal())])
    return Outbox(folder / f"{store}-{os.getpid()}-{number:019}.jsonl")


def leftover_outboxes(folder: Path, store: str, say: Callable[[str], None]) -> Iterator[Outbox]:
    """Yield the outboxes for a store whose processes have ended, oldest first.

    Args:
        folder: The folder of outboxes.
        store: The store's identity.
        say: Called with a message about each outbox that cannot be used.
    """
    for path in sorted(folder.glob(f"{store}-*.jsonl"), key=lambda path: path.stem.rpartition("-")[2]):
        try:
            yield Outbox(path, create=False)
        except (Timeout, FileNotFoundError):
            continue
        except (StateError, OSError) as error:
            if isinstance(error, OSError) and may_pass(error):
                say(f"store:  {path} cannot be opened at the moment ({error.strerror}); keeping it.")
                continue
            reason = error if isinstance(error, StateError) else f"{path} cannot be read: {error.strerror}."
            say(f"store:  {reason} {moved_aside(path)} Its records were not delivered.")


def lock_of(path: Path) -> Path:
    """Return the lock file of an outbox."""
    return path.with_suffix(".lock")


def undelivered(path: Path) -> bool:
    """Return True if the outbox at `path` appears to have undelivered records."""
    return path.stat().st_size > _delivered(path)


def _note_of(path: Path) -> Path:
    return path.with_suffix(".delivered")


def _delivered(path: Path) -> int:
    """Return how much of an outbox was delivered, or 0 if that is unknown; delivering records again is harmless."""
    with contextlib.suppress(OSError, StateError):
        name, delivered = read_json(_note_of(path), _NOTE_KIND, _NOTE)
        return max(delivered, 0) if name == path.name else 0
    return 0


def _open(path: Path, *, create: bool) -> int:
    """Open a file of this user for reading and appending."""
    if not create:
        open_own(path).close()
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    return os.open(path, flags, 0o600)


def _check_own_tree(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        open_own(path).close()
        return
    check_own_folder(path)
    for entry in path.iterdir():
        _check_own_tree(entry)
