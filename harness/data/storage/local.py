"""Files, FIFOs and pipes on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shlex
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.data.storage.pieces import stream_of
from harness.errors import ConfigError, require

EDGE_BYTES = 1 << 20
PROCESS = os.urandom(8).hex()
"""Distinguishes this process from earlier processes with the same id."""


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path next to `path`; what is written there gets the name `path` only when it is complete."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class LocalFile:
    """A file, FIFO or pipe on this machine; a stream can be read only once."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._path = Path(address)
        require(self._path.exists(), f"data.path: no such file: {address}")
        mode = self._path.stat().st_mode
        self.is_stream = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        pattern = shlex.quote(f"{address.rstrip('/')}/*.csv")
        require(
            not stat.S_ISDIR(mode),
            f"data.path: {address} is a folder. To read its files as one table, write {pattern}. A folder of images "
            "needs data=images, and one subfolder of images per class.",
        )
        require(self.is_stream or stat.S_ISREG(mode), f"data.path: {address} is a device, not a file.")

    def size(self) -> int:
        """Return its size in bytes; 0 if unknown."""
        return 0 if self.is_stream else self._path.stat().st_size

    def fingerprint(self) -> list[object]:
        """Return a fingerprint of the content: address, size, times, inode, and a hash of its beginning and end.

        The time of the last status change reveals an edit even if the modification time was set back. It also changes
        with the file's name, owner, permissions and number of hard links. The fingerprint of a stream is valid only in
        this process.
        """
        status = self._path.stat()
        if self.is_stream:
            return [self.address, status.st_dev, status.st_ino, os.getpid(), PROCESS]
        with self.open() as file:
            head = file.read(EDGE_BYTES)
            file.seek(max(0, status.st_size - EDGE_BYTES))
            edges = hashlib.blake2b(head + file.read(EDGE_BYTES)).hexdigest()
        return [self.address, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, edges]

    @contextlib.contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """Open it for reading from start to end."""
        try:
            with self._path.open("rb") as file:
                # The operating system does not know the position of a stream.
                yield stream_of(iter(partial(file.read1, 1 << 16), b"")) if self.is_stream else file
        except OSError as error:
            if error.errno is None:
                raise
            raise ConfigError(f"data.path: cannot read {self.address}: {error.strerror}") from error

    def open_seekable(self) -> AbstractContextManager[Any]:
        """Open it for Arrow, which needs random access."""
        return pa.OSFile(self.address)
