"""Files on HTTP servers and in object stores, streamed through fsspec."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

import aiohttp
import fsspec.core
import pyarrow as pa

from harness.data.storage.local import PROCESS
from harness.data.storage.pieces import stream_of
from harness.data.storage.urls import scheme
from harness.errors import ConfigError, causes, require
from harness.runtime.secrets import masked

BLOCK_BYTES = 8 << 20
"""Bytes fetched at once."""

EXTRAS = {"s3": "s3", "gs": "gcs", "http": "", "https": ""}
"""Schemes of remote addresses, with the extra of this package that installs the client."""

_VERSIONS = ("etag", "last-modified", "mtime", "lastmodified")


class RemoteFile:
    """A remote file, with the methods of `LocalFile`; credentials in its address are masked."""

    is_stream = False

    def __init__(self, address: str) -> None:
        self.address = masked(address)
        self._filesystem, self._path = connect(address)

    def size(self) -> int:
        """Return its size in bytes; 0 if the server does not report it."""
        with remote_errors(self.address):
            return int(self._filesystem.info(self._path).get("size") or 0)

    def fingerprint(self) -> list[object]:
        """Return address, size, and ETag or modification time; without either, it is valid only in this process."""
        with remote_errors(self.address):
            self._filesystem.invalidate_cache()
            info = self._filesystem.info(self._path)
        require(info.get("type") != "directory", f"data.path: {self.address} is a folder, not a file.")
        known = {key.lower(): str(value) for key, value in info.items() if value}
        version = [known[key] for key in _VERSIONS if key in known][:1]
        return [self.address, info.get("size"), *(version or [os.getpid(), PROCESS])]

    @contextlib.contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """Open it for reading from start to end."""

        def read() -> bytes:
            with remote_errors(self.address):
                return file.read(BLOCK_BYTES)

        with remote_errors(self.address):
            file = self._filesystem.open(self._path, "rb", block_size=0)
        with file:
            yield stream_of(iter(read, b""), BLOCK_BYTES)

    @contextlib.contextmanager
    def open_seekable(self) -> Iterator[Any]:
        """Open it for Arrow, which needs random access."""
        with remote_errors(self.address):
            file = self._filesystem.open(self._path, "rb", block_size=BLOCK_BYTES)
        try:
            with file:
                yield file
        except (ConfigError, pa.ArrowException):
            raise
        except ValueError as error:  # fsspec raises this if it cannot seek.
            raise ConfigError(
                f"data.path: the server of {self.address} does not support range requests, which this format needs; "
                "download the file first."
            ) from error


def connect(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for a remote address, and the path in it."""
    kind = scheme(address)
    require(kind in EXTRAS, f"data.path: {kind}:// is not supported; use a path, s3://, gs://, https:// or http://.")
    options: dict[str, Any] = {}
    if kind in ("http", "https"):
        # A large file may take hours, but no single read should take a minute.
        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=60)}
    try:
        with remote_errors(masked(address)):
            return fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        raise ConfigError(f"data.path: reading {kind}:// needs pip install 'harness[{EXTRAS[kind]}]'") from error


@contextlib.contextmanager
def remote_errors(address: str) -> Iterator[None]:
    """Turn failures to reach or read a remote file into a `ConfigError`."""
    try:
        yield
    except (ConfigError, ImportError):
        raise
    except Exception as error:
        raise ConfigError(f"data.path: {_explain(address, error)}") from error


def _explain(address: str, error: BaseException) -> str:
    # fsspec reports every HTTP failure as a missing file; the status is in the error's cause.
    numbers = (getattr(cause, "status", None) for cause in causes(error))
    status = next((number for number in numbers if isinstance(number, int)), 0)
    names = {base.__name__ for cause in causes(error) for base in type(cause).__mro__}
    if status in (401, 403) or (not status and "PermissionError" in names):
        return f"access to {address} was denied; check your credentials."
    if names & {"ClientConnectionError", "HTTPClientError", "ConnectionError", "TimeoutError", "gaierror"}:
        return f"{address} is unreachable; check the address and the network."
    if status == 404 or (not status and "FileNotFoundError" in names):
        return f"no such file: {address}"
    reason = f"HTTP status {status}" if status else masked(" ".join(str(error).split())) or type(error).__name__
    return f"cannot read {address}: {reason}"
