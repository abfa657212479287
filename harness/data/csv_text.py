"""Reads a CSV as UTF-8 text, whatever its compression and encoding."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from harness.data.files import File
from harness.errors import ConfigError, require

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_OTHERS = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


@contextlib.contextmanager
def open_text(file: File, encoding: str = "utf-8") -> Iterator[tuple[io.BufferedReader, io.BufferedReader]]:
    """Open a CSV, and yield its text and the underlying file, whose position shows the progress.

    Raises:
        ConfigError: The file cannot be read, decompressed or decoded.
    """
    try:
        with file.open() as below:
            yield _recoded(_decompressed(file.address, below), encoding), below
    except UnicodeError as error:
        raise ConfigError(
            f"data.path: {file.address} is not in {encoding} ({' '.join(str(error).split())}). "
            "Set data.encoding, for example to latin-1."
        ) from error
    except EOFError as error:
        raise ConfigError(f"data.path: {file.address} is truncated.") from error
    except (gzip.BadGzipFile, pa.ArrowInvalid, OSError) as error:  # Arrow raises a plain OSError for zstd.
        raise ConfigError(f"data.path: {file.address} is damaged ({' '.join(str(error).split())}).") from error


def _decompressed(address: str, file: io.BufferedReader) -> Any:
    start = file.peek(len(_ZSTD))
    other = next((name for mark, name in _OTHERS.items() if start.startswith(mark)), "")
    require(not other, f"data.path: {address} is {other}-compressed; use gzip, zstd or plain text.")
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file)
    return io.BufferedReader(pa.CompressedInputStream(file, "zstd")) if start.startswith(_ZSTD) else file


def _recoded(stream: Any, encoding: str) -> Any:
    if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig"):
        return stream
    return io.BufferedReader(_Recoded(stream, encoding))


class _Recoded(io.RawIOBase):
    """Converts text in another encoding to UTF-8, and keeps its line endings."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._text = io.TextIOWrapper(stream, encoding, newline="")
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._ready = self._ready or self._text.read(1 << 18).encode()
        taken, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)
