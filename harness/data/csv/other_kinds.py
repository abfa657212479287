"""Recognizes files that are not tables, so that messages can say what they are and what to do."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from harness.data.storage.urls import name_of
from harness.errors import ConfigError, require

READABLE = "Tables are read from CSV, Parquet, Feather and JSON lines."

_SAVE = "Save its table as CSV or Parquet."
_SHEET = "Save the sheet as CSV: in Excel, with Save As, CSV UTF-8; or with `libreoffice --headless --convert-to csv`."
_UNPACK = "Unpack it."
_IMAGES = "For images, set data=images, and data.path to a folder with one subfolder of images per class."
_STARTS = (
    (rb"%PDF-", "a PDF document", _SAVE),
    (rb"\{\\rtf", "an RTF document", _SAVE),
    (rb"SQLite format 3\0", "an SQLite database", _SAVE),
    (rb"\x93NUMPY", "a NumPy array", _SAVE),
    (rb"\x80[\x02-\x05][\x95}\]c]", "a Python pickle", _SAVE),
    (rb"\xd0\xcf\x11\xe0", "an Excel workbook in the old format", _SHEET),
    (rb"\x89HDF", "an HDF5 file", _SAVE),
    (rb"Obj\x01", "an Avro file", _SAVE),
    (rb"PAR1[\0-\x1f]|ARROW1\0", "a compressed Parquet or Feather file", "Decompress it."),
    (rb"<stata_dta>|[\x6e-\x73][\x01\x02]\x01\0", "a Stata file", _SAVE),
    (rb"\$FL[23]@\(#\)", "an SPSS file", _SAVE),
    (rb"\0{12}\xc2\xea\x81\x60", "a SAS file", _SAVE),
    (rb"RD[AX][23]\n|X\n\0\0\0[\x02\x03]", "an R data file", _SAVE),
    (rb"MATLAB 5\.0 MAT-file", "a MATLAB file", _SAVE),
    (rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|(?s:BM.{4}\0{4})|(?s:RIFF.{4}WEBP)", "an image", _IMAGES),
    (rb"(\xef\xbb\xbf)?\s*(?i:<!doctype html|<html|<\?xml)", "a web page or XML", "Download the file itself."),
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself", "Run `git lfs pull`."),
    (rb"7z\xbc\xaf|Rar!|(?s:.{257})ustar", "an archive", _UNPACK),
)
"""The first bytes of a file, what it is, and what to do."""

_MEMBERS = (
    (r"xl/workbook\..*", "an Excel workbook", _SHEET),
    (r"word/document\.xml", "a Word document", _SAVE),
    (r"ppt/presentation\.xml", "a PowerPoint presentation", _SAVE),
    (r"content\.xml", "an OpenDocument file", _SHEET),
    (r"model\.weights\.h5", "a Keras model, not a table", READABLE),
)
"""The name of a file in a zip archive, what the archive is, and what to do."""

_CONTENTS = (
    (r".*\.npy", "an archive of NumPy arrays", _SAVE),
    (r"(?i).*\.(png|jpe?g)", "an archive of images", f"Unzip it. {_IMAGES}"),
)
"""The names of all files in a zip archive, what the archive is, and what to do."""

_DOCUMENTS = {
    "bib": "a bibliography",
    "ipynb": "a Jupyter notebook",
    "markdown": "a Markdown document",
    "md": "a Markdown document",
    "py": "Python code",
    "r": "R code",
    "rst": "a reStructuredText document",
    "sh": "a shell script",
    "sql": "SQL code",
    "tex": "a LaTeX document",
    "toml": "a TOML file",
    "yaml": "a YAML file",
    "yml": "a YAML file",
}
"""Kinds of text files that are not tables, by suffix."""

_START, _MOST_CONTROL = 300, 0.1
"""Number of bytes in which to look for control characters, and their maximum share in a text file."""

_CONTROL = frozenset({*range(1, 9), *range(14, 27), *range(28, 32), 127})
"""Control characters that are rare in text; a text file may use one of them as a delimiter."""


_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def check_kind(stream: Any, address: str, encoding: str = "utf-8") -> None:
    """Look at a file's name, and at the first bytes of its buffered stream without consuming them.

    Raises:
        ConfigError: The file is of another kind.
    """
    buffered = stream.peek(_START)
    start = buffered[:_START]
    for pattern, kind, remedy in _STARTS:
        require(not re.match(pattern, start), f"{address} is {kind}. {remedy}")
    document = _DOCUMENTS.get(PurePath(name_of(address)).suffix[1:].lower(), "")
    require(not document or _has_fields(buffered), f"{address} is {document}, not a table. {READABLE}")
    require(not _is_binary(start, encoding), f"{address} is a binary file of an unknown kind. {READABLE}")


def check_members(names: Sequence[str], address: str) -> None:
    """Look at the names of the files in a zip archive.

    Raises:
        ConfigError: The archive is a file of another kind.
    """
    for some, kinds in ((any, _MEMBERS), (all, _CONTENTS)):
        for pattern, kind, remedy in kinds if names else ():
            if some(re.fullmatch(pattern, name) for name in names):
                raise ConfigError(f"{address} is {kind}. {remedy}")


def _has_fields(start: bytes) -> bool:
    """Return True if the first lines have the same number of a usual delimiter."""
    lines = [line for line in start.split(b"\n")[:-1] if line.strip()][:3]
    counts = [{line.count(mark) for line in lines} for mark in (b",", b";", b"\t", b"|")]
    return len(lines) > 1 and any(len(found) == 1 and found != {0} for found in counts)


def _is_binary(start: bytes, encoding: str) -> bool:
    """Return True if a file with this start cannot be text in an encoding; False if it may be UTF-16 or UTF-32."""
    if "\n".encode(encoding) != b"\n" or start.startswith(_BOMS):
        return False
    even, odd = start[::2].count(0), start[1::2].count(0)
    may_be_utf16 = 4 * (even + odd) > len(start) and max(even, odd) > 4 * min(even, odd)
    control = sum(byte in _CONTROL for byte in start)
    return not may_be_utf16 and len(_CONTROL.intersection(start)) > 2 and control > _MOST_CONTROL * len(start)
