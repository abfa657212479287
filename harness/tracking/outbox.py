"""Records on their way to MLflow: a file is the queue, so nothing is lost if the store or this process goes away."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.runtime.secrets import masked

ROUND_BYTES = 1 << 20
"""Records that are in memory at once."""

FILE_BYTES = 1 << 24
"""A file that is longer is emptied when all in it is delivered."""

Record = Mapping[str, Any]


class Undelivered(Exception):
    """The store did not answer for as long as was waited for it; what it did not get is kept."""


class Outbox:
    """A queue of records in a file, a line each; whoever opened it holds its lock, and what is delivered is noted."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            BlockingIOError: A process that is alive has it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.files = path.with_suffix(".files")
        self._note = path.with_suffix(".delivered")
        self._file = path.open("ab+", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise
        self._length = path.read_bytes().rfind(b"\n") + 1  # A torn last line is no record.
        self._delivered = min(int(self._note.read_text() or 0), self._length) if self._note.exists() else 0
        self._taken = self._delivered
        self._writing = threading.Lock()

    def append(self, record: Record) -> None:
        """Keep a record."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        with self._writing:
            if os.write(self._file.fileno(), line) < len(line):
                os.ftruncate(self._file.fileno(), self._length)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self._length += len(line)

    def sync(self) -> None:
        """Have all records so far reach the disk."""
        os.fsync(self._file.fileno())

    def take(self) -> list[Record]:
        """Return the oldest records that are not delivered, a megabyte of them or so."""
        with self.path.open("rb") as file:
            file.seek(self._delivered)
            lines = [line for line in file.readlines(ROUND_BYTES) if line.endswith(b"\n")]
        self._taken = self._delivered + sum(map(len, lines))
        return [json.loads(line) for line in lines]

    def delivered(self) -> None:
        """Note that all records that were taken need not be kept."""
        with self._writing:
            self._delivered = self._taken
            if self._delivered == self._length > FILE_BYTES:
                os.ftruncate(self._file.fileno(), 0)
                self._length = self._delivered = 0
            self._note.write_text(str(self._delivered))

    @property
    def pending(self) -> bool:
        """Whether there are records that are not delivered."""
        return self._delivered < self._length

    def room(self) -> Path:
        """Make a folder for what cannot be in a line; it stays until all is delivered."""
        room = self.files.absolute() / str(time.monotonic_ns())
        room.mkdir(parents=True)
        return room

    def close(self, *, discard: bool) -> None:
        """Let go of the file, and remove it if nothing in it is needed any more."""
        if discard:
            shutil.rmtree(self.files, ignore_errors=True)
            for path in (self._note, self.path):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # Another may have records there.
                self.path.parent.rmdir()
        self._file.close()


def new_outbox(folder: Path, uri: str) -> Outbox:
    """Make an outbox in `folder` for the store at `uri`."""
    return Outbox(folder / f"{_name(uri)}-{os.getpid()}-{time.time_ns()}.jsonl")


def left_behind(folder: Path, uri: str) -> Iterator[Outbox]:
    """Yield the outboxes for the store at `uri` that no process has any more, the oldest first."""
    for path in sorted(folder.glob(f"{_name(uri)}-*.jsonl"), key=lambda path: path.stem.rpartition("-")[2]):
        with contextlib.suppress(BlockingIOError):
            yield Outbox(path)


def _name(uri: str) -> str:
    """Name a store; its password is no part of the name."""
    return hashlib.blake2b(masked(uri).encode(), digest_size=6).hexdigest()
