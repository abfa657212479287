"""Reads a CSV as UTF-8 text, whatever its compression and encoding."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from harness.config.dialect import Dialect
from harness.data.csv.other_kinds import check_kind, check_members
from harness.data.csv.rewrite import rewritten
from harness.data.storage.files import File
from harness.data.storage.pieces import stream_of
from harness.errors import ConfigError, require

_GZIP, _ZSTD, _ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_UNPACKERS = {b"BZh": bz2.BZ2File, b"\xfd7zXZ": lzma.LZMAFile}
_DAMAGE = (gzip.BadGzipFile, zipfile.BadZipFile, lzma.LZMAError, zlib.error, pa.ArrowInvalid, OSError)
"""The errors that decompressors raise; Arrow raises a plain OSError for zstd."""


@contextlib.contextmanager
def open_text(file: File, dialect: Dialect) -> Iterator[tuple[io.BufferedReader, io.BufferedReader]]:
    """Open a CSV, and yield its text and the underlying file, whose position shows progress.

    The text is a plain CSV in UTF-8, delimited by `dialect.separator`.

    Raises:
        ConfigError: The file cannot be read, decompressed or decoded.
    """
    with errors_of_text(file.address, dialect.encoding), contextlib.ExitStack() as stack:
        below = stack.enter_context(file.open())
        text = _recoded(_unpacked(file, below, stack, dialect.encoding), dialect.encoding)
        yield rewritten(text, dialect) if dialect.rewrites_lines else text, below


@contextlib.contextmanager
def open_bytes(file: File) -> Iterator[io.BufferedReader]:
    """Open a file, and yield its bytes, decompressed."""
    with errors_of_text(file.address, ""), contextlib.ExitStack() as stack:
        yield _unpacked(file, stack.enter_context(file.open()), stack, "utf-8")


@contextlib.contextmanager
def errors_of_text(address: str, encoding: str) -> Iterator[None]:
    """Turn failures to decompress or decode a file into a `ConfigError`."""
    try:
        yield
    except UnicodeError as error:
        raise ConfigError(
            f"data.path: {address} is not in {encoding} ({' '.join(str(error).split())}). "
            "Set data.encoding, for example to latin-1."
        ) from error
    except EOFError as error:
        raise ConfigError(f"data.path: {address} is truncated.") from error
    except _DAMAGE as error:
        raise ConfigError(f"data.path: {address} is damaged ({' '.join(str(error).split())}).") from error


def _unpacked(file: File, below: io.BufferedReader, stack: contextlib.ExitStack, encoding: str) -> Any:
    stream = _decompressed(file, below, stack)
    check_kind(stream, file.address, encoding)
    return stream


def is_compressed(start: bytes) -> bool:
    """Return True if a file that starts with these bytes is decompressed before it is read."""
    return start.startswith((_GZIP, _ZSTD, _ZIP, *_UNPACKERS))


def _decompressed(file: File, below: io.BufferedReader, stack: contextlib.ExitStack) -> Any:
    start = below.peek(8)
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=below)
    if start.startswith(_ZSTD):
        return io.BufferedReader(pa.CompressedInputStream(below, "zstd"))
    if start.startswith(_ZIP):
        return io.BufferedReader(_only_member(file, stack))
    unpack: Any = next((kind for mark, kind in _UNPACKERS.items() if start.startswith(mark)), None)
    return io.BufferedReader(unpack(below)) if unpack else below


def _only_member(file: File, stack: contextlib.ExitStack) -> Any:
    """Open the only file in a zip archive."""
    address = file.address
    require(not file.is_stream, f"data.path: {address} is a zip archive, which cannot be read from a stream.")
    archive = zipfile.ZipFile(stack.enter_context(file.open_seekable()))
    names = [each.filename for each in archive.infolist() if not each.is_dir()]
    # macOS adds files of its own.
    names = [name for name in names if not name.startswith("__MACOSX/") and not name.endswith(".DS_Store")]
    check_members(names, address)
    shown = ", ".join(names[:10])
    require(
        len(names) == 1,
        f"data.path: {address} must contain exactly one file, but contains {shown or 'none'}. Unzip it.",
    )
    try:
        return stack.enter_context(archive.open(names[0]))
    except (RuntimeError, NotImplementedError) as error:
        raise ConfigError(f"data.path: cannot unzip {address} ({error}). Unzip it first.") from error


def _recoded(stream: Any, encoding: str) -> Any:
    """Convert text to UTF-8, and keep its line endings."""
    if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig"):
        return stream
    pieces = iter(partial(stream.read, 1 << 18), b"")
    return stream_of(text.encode() for text in codecs.iterdecode(pieces, encoding))
