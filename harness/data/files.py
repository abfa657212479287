"""Files by address: their names, their bytes, and whether they have changed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias, Union
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from harness.errors import ConfigError, require

if TYPE_CHECKING:
    from harness.data.remote import RemoteFile

EDGE_BYTES = 1 << 20
PROCESS = os.urandom(8).hex()
"""Distinguishes this process from an earlier one with the same id."""


def scheme(address: str) -> str:
    """Return the scheme of a remote address, an empty string for a local path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", address)
    return found[1].lower() if found else ""


def name_of(address: str) -> str:
    """Return the last part of an address, without a query."""
    parts = urlsplit(address) if scheme(address) else None
    return (PurePosixPath(unquote(parts.path)).name or parts.netloc) if parts else Path(address).name


def open_file(address: str) -> File:
    """Return the file at an address.

    Raises:
        ConfigError: It is local and missing, or no file.
    """
    if scheme(address):
        from harness.data.remote import RemoteFile

        return RemoteFile(address)
    return LocalFile(address)


class LocalFile:
    """A file, FIFO or pipe on this machine; a stream can be read only once."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._path = Path(address)
        require(self._path.exists(), f"data.path: no such file: {address}")
        mode = self._path.stat().st_mode
        self.is_stream = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        require(self.is_stream or stat.S_ISREG(mode), f"data.path: {address} is a folder or device; name files.")

    def size(self) -> int:
        """Return its bytes; 0 if unknown."""
        return 0 if self.is_stream else self._path.stat().st_size

    def fingerprint(self) -> list[object]:
        """Return what changes with the content: address, size, modification time, inode, and a hash of both ends.

        A stream is tied to this process.
        """
        status = self._path.stat()
        if self.is_stream:
            return [self.address, status.st_dev, status.st_ino, os.getpid(), PROCESS]
        with self.open() as file:
            head = file.read(EDGE_BYTES)
            file.seek(max(0, status.st_size - EDGE_BYTES))
            edges = hashlib.blake2b(head + file.read(EDGE_BYTES)).hexdigest()
        return [self.address, status.st_size, status.st_mtime_ns, status.st_ino, edges]

    @contextlib.contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """Open it for reading from start to end."""
        try:
            with self._path.open("rb") as file:
                yield file
        except OSError as error:
            if error.errno is None:
                raise
            raise ConfigError(f"data.path: cannot read {self.address}: {error.strerror}") from error

    def open_seekable(self) -> AbstractContextManager[Any]:
        """Open it for Arrow, which reads it in any order."""
        return pa.OSFile(self.address)


File: TypeAlias = Union[LocalFile, "RemoteFile"]
