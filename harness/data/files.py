"""Files by address, local or remote: what they are called, whether they have changed, and their bytes in order."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from harness.errors import ConfigError, require
from harness.runtime.secrets import masked

EDGE_BYTES = 1 << 20
REMOTE_BLOCK_BYTES = 8 << 20
"""Bytes of a remote file fetched by one request."""

EXTRAS = {"s3": "s3", "gs": "gcs", "http": "", "https": ""}
"""Schemes of remote addresses, and the extra of this package that brings the client."""

_TIMEOUTS = {"total": None, "sock_connect": 20, "sock_read": 60}
_PROCESS = os.urandom(8).hex()
"""Distinguishes this process from an earlier one with the same id."""


def scheme(address: str) -> str:
    """Return the scheme of a remote address, an empty string for a local path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", address)
    return found[1].lower() if found else ""


def name_of(address: str) -> str:
    """Return the last part of an address, without a query."""
    parts = urlsplit(address) if scheme(address) else None
    return (PurePosixPath(unquote(parts.path)).name or parts.netloc) if parts else Path(address).name


class File(ABC):
    """A file at an address.

    Attributes:
        address: Absolute path or URL, with any credentials masked.
        is_stream: Whether it can be read only once.
    """

    address: str
    is_stream = False

    @abstractmethod
    def size(self) -> int:
        """Return its bytes; 0 if unknown."""

    @abstractmethod
    def fingerprint(self) -> list[object]:
        """Return the address and what changes when the content does."""

    @abstractmethod
    def open(self) -> AbstractContextManager[io.BufferedReader]:
        """Open it for reading from start to end."""

    @abstractmethod
    def open_seekable(self) -> AbstractContextManager[Any]:
        """Open it for Arrow, which reads it in any order."""


class LocalFile(File):
    """A file, FIFO or pipe on this machine."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.path = Path(address)
        require(self.path.exists(), f"data.path: no such file: {address}")
        mode = self.path.stat().st_mode
        self.is_stream = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        require(self.is_stream or stat.S_ISREG(mode), f"data.path: {address} is a folder or device; name files.")

    def size(self) -> int:
        """Return its bytes; 0 for a stream."""
        return 0 if self.is_stream else self.path.stat().st_size

    def fingerprint(self) -> list[object]:
        """Return address, size, times, inode, and a hash of both ends; a stream is tied to this process."""
        status = self.path.stat()
        if self.is_stream:
            return [self.address, status.st_dev, status.st_ino, os.getpid(), _PROCESS]
        with self.open() as file:
            head = file.read(EDGE_BYTES)
            file.seek(max(0, status.st_size - EDGE_BYTES))
            edges = hashlib.blake2b(head + file.read(EDGE_BYTES)).hexdigest()
        return [self.address, status.st_size, status.st_mtime_ns, status.st_ino, edges]

    @contextlib.contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """Open it directly."""
        try:
            with self.path.open("rb") as file:
                yield file
        except OSError as error:
            if error.errno is None:
                raise
            raise ConfigError(f"data.path: cannot read {self.address}: {error.strerror}") from error

    def open_seekable(self) -> AbstractContextManager[Any]:
        """Open it as Arrow's own file, which is read without Python."""
        return pa.OSFile(self.address)


class RemoteFile(File):
    """A file behind HTTP or in an object store, read through fsspec."""

    def __init__(self, address: str) -> None:
        self.address = masked(address)
        self._filesystem, self._path = connect(address)

    def size(self) -> int:
        """Return its bytes; 0 if the server does not say."""
        return int(self._info.get("size") or 0)

    def fingerprint(self) -> list[object]:
        """Return address, size, and ETag or modification time; without either, the content is tied to this process."""
        with remote_errors(self.address):
            self._filesystem.invalidate_cache()
            info = self._filesystem.info(self._path)
        require(info.get("type") != "directory", f"data.path: {self.address} is a folder; name files.")
        known = {key.lower(): value for key, value in info.items() if value}
        version = next(
            (str(known[key]) for key in ("etag", "last-modified", "mtime", "lastmodified") if key in known), ""
        )
        return [self.address, info.get("size"), *([version] if version else [os.getpid(), _PROCESS])]

    @contextlib.contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """Open it in requests of whole blocks, which survive a slow reader, or in one if the server has no ranges."""
        in_ranges = scheme(self.address) in ("s3", "gs") or self._has_ranges
        with remote_errors(self.address):
            file = self._filesystem.open(self._path, "rb", block_size=REMOTE_BLOCK_BYTES if in_ranges else 0)
        with file:
            yield io.BufferedReader(_Raw(file, self.address), REMOTE_BLOCK_BYTES)

    @contextlib.contextmanager
    def open_seekable(self) -> Iterator[Any]:
        """Open it for reading in ranges."""
        is_store = scheme(self.address) in ("s3", "gs")
        require(
            is_store or self._has_ranges,
            f"data.path: the server of {self.address} sends whole files only, and Parquet is read in parts; "
            "download the file first.",
        )
        with remote_errors(self.address):
            file = self._filesystem.open(self._path, "rb", block_size=REMOTE_BLOCK_BYTES)
        with file:
            yield file

    @cached_property
    def _info(self) -> dict[str, Any]:
        with remote_errors(self.address):
            return self._filesystem.info(self._path)

    @cached_property
    def _has_ranges(self) -> bool:
        """Whether the server sends parts of a file; asked for, since few say so."""
        if not self._info.get("size") or self._info.get("partial") is False:
            return False
        with remote_errors(self.address), self._filesystem.open(self._path, "rb", block_size=1) as file:
            try:
                file.seek(min(1, self.size() - 1))
                return len(file.read(1)) == 1
            except ValueError:
                return False


class _Raw(io.RawIOBase):
    """A remote file's bytes in order; failures are reported in one sentence."""

    def __init__(self, file: Any, address: str) -> None:
        self._file, self._address = file, address
        self._taken = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._taken

    def readinto(self, buffer: Any) -> int:
        with remote_errors(self._address):
            found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        self._taken += len(found)
        return len(found)


def open_file(address: str) -> File:
    """Return the file at an address; a local one has to exist."""
    return RemoteFile(address) if scheme(address) else LocalFile(address)


def connect(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for a remote address, and the path in it.

    Raises:
        ConfigError: The scheme is not supported, or its client is not installed.
    """
    import fsspec.core

    kind = scheme(address)
    require(kind in EXTRAS, f"data.path: {kind}:// is not supported; use a path, s3://, gs://, https:// or http://.")
    options: dict[str, Any] = {}
    if kind in ("http", "https"):
        import aiohttp

        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(**_TIMEOUTS)}
    try:
        with remote_errors(masked(address)):
            return fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        raise ConfigError(f"data.path: reading {kind}:// needs pip install 'harness[{EXTRAS[kind]}]'") from error


@contextlib.contextmanager
def remote_errors(address: str) -> Iterator[None]:
    """Turn a remote file's failure into one sentence."""
    try:
        yield
    except (ConfigError, ImportError):
        raise
    except Exception as error:
        raise ConfigError(f"data.path: {_explain(address, error)}") from error


def _explain(address: str, error: BaseException) -> str:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    status = next((cause.status for cause in causes if isinstance(getattr(cause, "status", None), int)), 0)  # type: ignore[attr-defined]
    names = {base.__name__ for cause in causes for base in type(cause).__mro__}
    if status in (401, 403) or (not status and "PermissionError" in names):
        return f"access to {address} was denied; check your credentials."
    if names & {"ClientConnectionError", "HTTPClientError", "ConnectionError", "TimeoutError", "gaierror"}:
        return f"{address} is unreachable; check the address and the network."
    if status == 404 or (not status and "FileNotFoundError" in names):
        return f"no such file: {address}"
    reason = f"HTTP status {status}" if status else masked(" ".join(str(error).split())) or type(error).__name__
    return f"cannot read {address}: {reason}"
