"""Where rows come from: files by name, by pattern or in a list, packed or not, and streams that can be read once."""

from __future__ import annotations

import codecs
import contextlib
import glob
import gzip
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.errors import ConfigError, require

EDGE_BYTES = 1 << 20
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_OTHERS = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_PATTERN = frozenset("*?[")


def find_files(path: str | Sequence[str], remedy: str = "") -> list[Path]:
    """Return the files that `data.path` names: a list's in its order, a pattern's in the order of their names.

    Raises:
        ConfigError: One of them is not there or is no file, or a pattern fits none.
    """
    found: list[Path] = []
    for name in [path] if isinstance(path, str | os.PathLike) else path:
        whole = Path(name).expanduser().absolute()
        if _PATTERN & set(str(name)) and not whole.exists():
            # Whoever writes this `*` means files; folders may lie beside them.
            matches = [Path(match) for match in sorted(glob.glob(str(whole), recursive=True))]  # noqa: PTH207
            matches = [match for match in matches if not match.is_dir()]
            require(bool(matches), "data.path expected a pattern that fits some file", name, remedy)
            found += matches
        else:
            found.append(whole)
    for file in found:
        require(file.exists(), "data.path expected a file that is there", file, remedy)
        require(
            file.is_file() or is_stream(file), "data.path expected a file", f"{file}, a folder or device", "Name files."
        )
    return found


def is_stream(path: Path) -> bool:
    """Say whether what `path` names can be read once only: a FIFO, or `/dev/stdin` at the end of a pipe."""
    mode = path.stat().st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def fingerprint(path: Path) -> list[object]:
    """Return what tells a file from an earlier state of it: size, times, inode, and a hash of its two ends.

    A stream is itself as long as the process that reads it lives.
    """
    status = path.stat()
    if is_stream(path):
        return [str(path), status.st_dev, status.st_ino, os.getpid(), _BORN]
    require(path.is_file(), "data.path expected a file", f"{path}, a folder or device", "Name files.")
    with _opened(path) as file:
        head = file.read(EDGE_BYTES)
        file.seek(max(0, status.st_size - EDGE_BYTES))
        edges = hashlib.blake2b(head + file.read(EDGE_BYTES)).hexdigest()
    return [str(path), status.st_size, status.st_mtime_ns, status.st_ino, edges]


_BORN = os.urandom(8).hex()
"""Tells this process from an earlier one with the same number."""


def is_parquet(path: Path) -> bool:
    """Say whether a file is in Apache Parquet's format, by its first bytes."""
    if is_stream(path):
        return False
    with _opened(path) as file:
        return file.read(len(_PARQUET)) == _PARQUET


class Text:
    """The bytes of a CSV in UTF-8, unpacked and recoded where necessary.

    Attributes:
        stream: Read from here.
    """

    def __init__(self, path: Path, file: io.BufferedReader, encoding: str) -> None:
        self.path = path
        self._file = file
        start = file.peek(len(_ZSTD))
        packing = next((name for mark, name in _OTHERS.items() if start.startswith(mark)), "")
        require(not packing, "data.path expected text, gzip or zstd", f"{path}, packed by {packing}", "Unpack it.")
        stream: Any = file
        if start.startswith(_GZIP):
            stream = gzip.GzipFile(fileobj=file)
        elif start.startswith(_ZSTD):
            stream = io.BufferedReader(pa.CompressedInputStream(file, "zstd"))
        if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig"):
            stream = io.BufferedReader(_Recoded(stream, encoding, newline=""))
        start = stream.peek(1)
        if b"\r" in start[:-1] and b"\n" not in start:
            # Lines that end as on a Macintosh of old.
            stream = io.BufferedReader(_Recoded(stream, "utf-8", newline=None))
        self.stream: io.BufferedReader = stream

    def position(self, read: int) -> int:
        """Return the bytes of the file that were taken so far, where `read` is those of the text."""
        return self._file.tell() if self._file.seekable() else read


@contextlib.contextmanager
def open_text(path: Path, encoding: str = "utf-8") -> Iterator[Text]:
    """Open a CSV, packed or not.

    Raises:
        ConfigError: It cannot be opened; or, while it is read, it is packed and broken, or not in `encoding`.
    """
    try:
        with _opened(path) as file:
            yield Text(path, file, encoding)
    except UnicodeError as error:
        reason = f"{path}, where {' '.join(str(error).split())}"
        raise ConfigError(
            f"data.path expected text in {encoding}. Received: {reason}. Set data.encoding, as to latin-1."
        ) from error
    except EOFError as error:
        raise ConfigError(f"data.path expected a whole file. Received: {path}, which is cut off.") from error
    except (gzip.BadGzipFile, pa.ArrowInvalid) as error:
        raise _broken(path, error) from error
    except OSError as error:  # Arrow's, of what it unpacks.
        raise _broken(path, error) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        if error.errno is None:
            raise
        raise ConfigError(
            f"data.path expected a file that can be read. Received: {path} ({error.strerror})."
        ) from error


def _broken(path: Path, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())
    return ConfigError(f"data.path expected a whole file. Received: {path}, which cannot be unpacked ({reason}).")


class _Recoded(io.RawIOBase):
    """Text of another encoding, as UTF-8; `newline=None` makes all ends of lines one."""

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
