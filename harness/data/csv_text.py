"""The text of a CSV in UTF-8, whatever its compression, encoding and line ends."""

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


class Text:
    """The bytes of a CSV in UTF-8.

    Attributes:
        stream: The text, decompressed and re-encoded where necessary.
    """

    def __init__(self, address: str, file: io.BufferedReader, encoding: str) -> None:
        self._file = file
        start = file.peek(len(_ZSTD))
        other = next((name for mark, name in _OTHERS.items() if start.startswith(mark)), "")
        require(not other, f"data.path: {address} is {other}-compressed; use gzip, zstd or plain text.")
        stream: Any = file
        if start.startswith(_GZIP):
            stream = gzip.GzipFile(fileobj=file)
        elif start.startswith(_ZSTD):
            stream = io.BufferedReader(pa.CompressedInputStream(file, "zstd"))
        if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig"):
            stream = io.BufferedReader(_Recoded(stream, encoding, newline=""))
        start = stream.peek(1)
        if b"\r" in start[:-1] and b"\n" not in start:
            # Line ends of classic Mac OS.
            stream = io.BufferedReader(_Recoded(stream, "utf-8", newline=None))
        self.stream: io.BufferedReader = stream

    def position(self, read: int) -> int:
        """Return the bytes of the file read so far, given `read` bytes of its text."""
        return self._file.tell() if self._file.seekable() else read


@contextlib.contextmanager
def open_text(file: File, encoding: str = "utf-8") -> Iterator[Text]:
    """Open a CSV, compressed or not."""
    try:
        with file.open() as stream:
            yield Text(file.address, stream, encoding)
    except UnicodeError as error:
        raise ConfigError(
            f"data.path: {file.address} is not in {encoding} ({' '.join(str(error).split())}). "
            "Set data.encoding, for example to latin-1."
        ) from error
    except EOFError as error:
        raise ConfigError(f"data.path: {file.address} is cut off.") from error
    except (gzip.BadGzipFile, pa.ArrowInvalid, OSError) as error:  # Arrow raises a plain OSError for zstd.
        raise ConfigError(f"data.path: {file.address} is damaged ({' '.join(str(error).split())}).") from error


class _Recoded(io.RawIOBase):
    """Text in another encoding, as UTF-8; `newline=None` makes all line ends alike."""

    def __init__(self, stream: io.BufferedReader, encoding: str, newline: str | None) -> None:
        self._text = io.TextIOWrapper(stream, encoding, newline=newline)
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._ready = self._ready or self._text.read(1 << 18).encode()
        taken, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)
