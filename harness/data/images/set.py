"""`ImageSet`: the interface between kinds of image collections and tables. Each kind has a subclass."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from harness.data.images.decode import SUFFIXES
from harness.errors import ConfigError

SUFFIXES_OF_IMAGES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

NO_GROUP = "has no group in the column data.group"


class Rejected(NamedTuple):
    """An image that cannot be used: its full name, and the reason, as the end of a sentence."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Item:
    """An image that has not been decoded yet.

    Attributes:
        name: Its name in messages.
        key: Decides which part of the split it belongs to: its path relative to the set or, if it has no file of its
            own, a digest of its content.
        label: Its label as text.
        group: Value of the group column; None without one.
        suffix: Suffix of its file, in lower case.
        size: Its size in bytes.
        load: Returns its content, or the reason why it cannot be read.
    """

    name: str
    key: str
    label: str
    group: str | None
    suffix: str
    size: int
    load: Callable[[], bytes | Rejected]


class ImageSet(ABC):
    """Images with labels, from one folder or file.

    Attributes:
        address: Absolute path of the folder or file.
        skipped: Number of files that were not read, by phrase; complete once the set has been found.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.skipped: Counter[str] = Counter()

    @abstractmethod
    def fingerprint(self) -> list[object]:
        """Return a fingerprint of everything in the set, starting with its address."""

    @abstractmethod
    def labels(self) -> list[str]:
        """Return the distinct labels, in the default order of classes."""

    @abstractmethod
    def read(self) -> Iterator[Item | Rejected]:
        """Return the images in a fixed order, without decoding them."""

    @property
    @abstractmethod
    def total_bytes(self) -> int:
        """Size of all images, for showing progress; 0 if unknown."""


def normal(name: str) -> str:
    """Return a name in a form that does not depend on the file system: NFC, without invalid characters."""
    if name.isascii():
        return name
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))


def stamp_of(status: os.stat_result) -> int:
    """Return a 64-bit hash, never 0, of the properties that change when a file is modified."""
    seen = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return int.from_bytes(hashlib.blake2b(repr(seen).encode(), digest_size=8).digest(), "little") or 1


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name or path, in lower case; much faster than `Path.suffix`."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def load_file(path: str, stamp: int) -> bytes | Rejected:
    """Return the content of a file.

    Raises:
        ConfigError: The file has changed since it was listed.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            data = file.read()
            is_same = stamp_of(os.fstat(file.fileno())) == stamp
    except FileNotFoundError:
        raise ConfigError(f"{normal(path)} was removed while the images were being read.") from None
    except OSError as error:
        return Rejected(normal(path), f"cannot be opened ({error.strerror})")
    if not is_same:
        raise ConfigError(f"{normal(path)} changed while the images were being read. Train again once it is complete.")
    return data
