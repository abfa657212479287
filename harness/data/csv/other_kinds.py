"""Recognizes files that are not text or not data by how they begin, so that messages can say what they are."""

from __future__ import annotations

import re
from typing import Any

from harness.errors import require

_SAVE = "Save its table as CSV or Parquet."
_UNPACK = "Unpack it."
_KINDS = (
    (rb"%PDF-", "a PDF document", _SAVE),
    (rb"SQLite format 3\0", "an SQLite database", _SAVE),
    (rb"\x93NUMPY", "a NumPy array", _SAVE),
    (rb"\x80[\x02-\x05][\x95}\]c]", "a Python pickle", _SAVE),
    (rb"\xd0\xcf\x11\xe0", "an Excel workbook in the old format", _SAVE),
    (rb"\x89HDF", "an HDF5 file", _SAVE),
    (rb"Obj\x01", "an Avro file", _SAVE),
    (rb"(\xef\xbb\xbf)?\s*(?i:<!doctype html|<html|<\?xml)", "a web page or XML", "Download the file itself."),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file itself", "Run `git lfs pull`."),
    (rb"7z\xbc\xaf|Rar!|(?s:.{257})ustar", "an archive", _UNPACK),
)
"""How a file begins, what it is, and what to do."""


def check_kind(stream: Any, address: str) -> None:
    """Look at the first bytes of a buffered stream without consuming them.

    Raises:
        ConfigError: They are those of another kind of file.
    """
    start = stream.peek(300)
    for pattern, kind, remedy in _KINDS:
        require(not re.match(pattern, start), f"data.path: {address} is {kind}. {remedy}")
