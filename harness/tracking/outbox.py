"""Queues records for MLflow in a file, so that nothing is lost if the store or this process becomes unavailable.

An outbox is locked by the process that writes to it. The lock ends with that process on local disks and wherever
`flock` works across machines (NFS 4, Lustre mounted with `flock`); elsewhere, give each machine its own
`runtime.cache`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from harness.runtime.secrets import masked
from harness.tracking.records import Record, read_record

BYTES_IN_MEMORY = 1 << 20
"""Bytes of records to read at once."""

LONGEST_FILE = 1 << 24
"""A file larger than this is emptied as soon as all of its records are delivered."""


class StoreUnreachable(Exception):
    """The store stayed unreachable for the maximum waiting time; undelivered records stay in the outbox."""


class Outbox:
    """A queue of records in a file, one per line.

    Attributes:
        path: The file.
        rejected: Where lines that are not records are kept.
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
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.rejected = path.with_suffix(".rejected")
        self._files, self._note = path.with_suffix(".files"), path.with_suffix(".delivered")
        self._bytes_in_memory, self._longest_file = bytes_in_memory, longest_file
        self._lock = FileLock(lock_of(path), thread_local=False)
        self._lock.acquire(blocking=False)
        if not create and not path.exists():  # Its process has just delivered everything.
            self._release()
            raise FileNotFoundError(path)
        self._file = path.open("ab+", buffering=0)
        self._length = path.read_bytes().rfind(b"\n") + 1  # A line without a line break is incomplete.
        self._delivered = min(int(self._note.read_text() or 0), self._length) if self._note.exists() else 0
        self._taken, self._unreadable = self._delivered, []
        self._writing = threading.Lock()

    def append(self, record: Record) -> None:
        """Add a record."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        with self._writing:
            if os.write(self._file.fileno(), line) < len(line):
                os.ftruncate(self._file.fileno(), self._length)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self._length += len(line)

    def sync(self) -> None:
        """Flush all records to disk."""
        os.fsync(self._file.fileno())

    def take(self) -> list[Record]:
        """Return the oldest undelivered records, about a megabyte."""
        with self.path.open("rb") as file:
            file.seek(self._delivered)
            lines = [line for line in file.readlines(self._bytes_in_memory) if line.endswith(b"\n")]
        self._taken = self._delivered + sum(map(len, lines)) if lines else self._length
        records, self._unreadable = [], []
        for line in lines:
            try:
                records.append(read_record(line))
            except ValueError:
                self._unreadable.append(line)
        return records

    def mark_delivered(self) -> int:
        """Mark all records taken so far as delivered.

        Returns:
            The number of lines that were not records; they are moved to `rejected`.
        """
        with self._writing:
            if self._unreadable:
                with self.rejected.open("ab") as file:
                    file.writelines(self._unreadable)
            self._delivered = self._taken
            if self._delivered == self._length > self._longest_file:
                os.ftruncate(self._file.fileno(), 0)
                self._length = self._delivered = 0
            self._note.write_text(str(self._delivered))
            return len(self._unreadable)

    @property
    def pending(self) -> bool:
        """Whether there are undelivered records."""
        return self._delivered < self._length

    def new_folder(self) -> Path:
        """Create a folder for a record's files; it is deleted once all records are delivered."""
        folder = self._files.absolute() / str(time.monotonic_ns())
        folder.mkdir(parents=True)
        return folder

    def close(self) -> None:
        """Release the file, and delete it if all of its records are delivered."""
        self._file.close()
        if self.pending:
            self._lock.release()
            return
        shutil.rmtree(self._files, ignore_errors=True)
        for path in (self._note, self.path):
            path.unlink(missing_ok=True)
        self._release()
        with contextlib.suppress(OSError):  # The folder may hold other outboxes.
            self.path.parent.rmdir()

    def _release(self) -> None:
        lock_of(self.path).unlink(missing_ok=True)
        self._lock.release()


def new_outbox(folder: Path, uri: str) -> Outbox:
    """Create an outbox in `folder` for the store at `uri`."""
    # After all others, even if the clock was set back.
    numbers = [path.stem.rpartition("-")[2] for path in folder.glob(f"{_name(uri)}-*.jsonl")]
    number = max([time.time_ns(), *(int(number) + 1 for number in numbers if number.isdecimal())])
    return Outbox(folder / f"{_name(uri)}-{os.getpid()}-{number:019}.jsonl")


def leftover_outboxes(folder: Path, uri: str) -> Iterator[Outbox]:
    """Yield the outboxes for the store at `uri` whose processes have ended, oldest first."""
    for path in sorted(folder.glob(f"{_name(uri)}-*.jsonl"), key=lambda path: path.stem.rpartition("-")[2]):
        with contextlib.suppress(Timeout, FileNotFoundError):
            yield Outbox(path, create=False)


def lock_of(path: Path) -> Path:
    """Return the lock file of an outbox."""
    return path.with_suffix(".lock")


def _name(uri: str) -> str:
    """Return a name for a store that does not depend on its password."""
    return hashlib.blake2b(masked(uri).encode(), digest_size=6).hexdigest()
