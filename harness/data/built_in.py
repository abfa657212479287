"""The built-in data in a cache: generated once, and used only if its checksum matches."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data import digits, synthetic_houses
from harness.data.tables.locks import making
from harness.runtime.state_files import StateError, checksum_file, may_pass, read_json, set_aside, write_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

NOTE_KIND = "generated data 1"


@dataclass(frozen=True)
class Note:
    """The known state of a generated file.

    Attributes:
        status: Size, modification and change time, and inode; while they stay the same, the file is not read again.
        checksum: Checksum of its content.
    """

    status: list[int]
    checksum: str


def built_in_csv(cache: Path, rows: int, progress: Callable[[int], None], say: Callable[[str], None]) -> Path:
    """Return the cached CSV of `rows` synthetic houses, generating it if it is missing or damaged."""
    path = cache / "houses" / f"houses-{synthetic_houses.VERSION}-{rows}.csv"
    return _kept(path, cache, lambda: synthetic_houses.generate(path, rows, progress=progress), say)


def built_in_digits(cache: Path, say: Callable[[str], None]) -> Path:
    """Return the cached Parquet file of the handwritten digits, writing it if it is missing or damaged."""
    path = cache / "digits" / f"digits-{digits.VERSION}.parquet"
    return _kept(path, cache, lambda: digits.generate(path), say)


def _kept(path: Path, cache: Path, generate: Callable[[], None], say: Callable[[str], None]) -> Path:
    """Return `path`, after calling `generate` if the file is missing or damaged."""
    if _fault(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # If the file were replaced while another process was reading it, that process would report a change.
        with making(cache, path.stem):
            if fault := _fault(path):
                if path.exists():
                    say(f"{path} {fault}; generating it again.")
                for place in (path, note_path(path)):
                    if place.is_dir():
                        set_aside(place)
                generate()
                _write_note(path, checksum_file(path))
    return path


def generated(cache: Path) -> list[Path]:
    """Return the files of generated data in a cache."""
    return sorted([*(cache / "houses").glob("*.csv"), *(cache / "digits").glob("*.parquet")])


def note_path(path: Path) -> Path:
    """Return the file that holds the checksum of a generated file."""
    return path.with_suffix(".note")


def _fault(path: Path) -> str:
    """Return what is wrong with a generated file; empty if it is intact."""
    try:
        note = read_json(note_path(path), NOTE_KIND, _schema())
    except (StateError, FileNotFoundError):
        return "has no checksum"
    try:
        if note.status == _status(path):
            return ""
        is_same = note.checksum == checksum_file(path)
    except StateError:
        is_same = False
    except OSError as error:
        if may_pass(error):
            raise
        is_same = False
    if not is_same:
        return "is damaged"
    _write_note(path, note.checksum)
    return ""


def _write_note(path: Path, content: str) -> None:
    write_json(note_path(path), NOTE_KIND, {"status": _status(path), "checksum": content})


def _status(path: Path) -> list[int]:
    status = path.stat(follow_symlinks=False)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


@functools.cache
def _schema() -> TypeAdapter[Note]:
    from pydantic import TypeAdapter

    return TypeAdapter(Note)
