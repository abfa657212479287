"""Recognizes files that are not text or not data by their first bytes, so that messages can say what they are."""

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
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself", "Run `git lfs pull`."),
    (rb"7z\xbc\xaf|Rar!|(?s:.{257})ustar", "an archive", _UNPACK),
)
"""The first bytes of a file, what it is, and what to do."""


def check_kind(stream: Any, address: str) -> None:
    """Look at the first bytes of a buffered stream without consuming them.

    Raises:
        ConfigError: The file is of another kind.
    """
    start = stream.peek(300)
    for pattern, kind, remedy in _KINDS:
        require(not re.match(pattern, start), f"data.path: {address} is {kind}. {remedy}")
