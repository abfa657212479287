"""A folder with one subfolder of images per class."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from harness.data.images.set import SUFFIXES_OF_IMAGES, ImageSet, Item, Rejected, load_file, normal, stamp_of, suffix_of
from harness.errors import ConfigError, require

JUNK = frozenset(("thumbs.db", "desktop.ini", "__macosx"))
PARTS = frozenset(("train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval", "holdout"))


class Listing:
    """Image files in order, stored compactly, as there may be millions.

    Attributes:
        paths: Paths relative to the folder.
        stamps: Their stamps; 0 for a broken link.
        sizes: Their sizes in bytes.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.stamps = array("Q")
        self.sizes = array("Q")

    def add(self, path: str, status: os.stat_result | None) -> None:
        """Add a file."""
        self.paths.append(path)
        self.stamps.append(stamp_of(status) if status else 0)
        self.sizes.append(status.st_size if status else 0)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Return the path, stamp and size of each file."""
        return zip(self.paths, self.stamps, self.sizes, strict=True)

    def digest(self) -> str:
        """Return a hash of the paths and stamps."""
        found = hashlib.blake2b(self.stamps.tobytes(), digest_size=16)
        for path in self.paths:
            found.update(os.fsencode(path) + b"\0")
        return found.hexdigest()


class ImageFolder(ImageSet):
    """Images at any depth in folders named after their classes, ordered by path."""

    def __init__(self, address: str) -> None:
        """List the folder."""
        super().__init__(address)
        self._found, self._folders = list_images(Path(address), self.skipped)

    def check(self, least: int) -> None:
        """Check that the folder has at least `least` classes.

        Raises:
            ConfigError: The folder holds the parts of a split, too few classes, or two classes whose names look the
                same.
        """
        names = self._folders
        if parts := _parts(names):
            train, *others = parts
            second = f" data.holdout_path={self.address}/{others[0]}" if others else ""
            found = f"{self.address} holds {' and '.join(sorted(parts))}, which are parts of a split, not classes"
            raise ConfigError(f"data.path: {found}. Set data.path={self.address}/{train}{second}.")
        what = "no folders of classes" if self._found.paths else "no images"
        what = f"only one class, {names[0]}" if names else what
        require(
            len(names) >= least, f"data.path: {self.address} has {what}; it needs one subfolder of images per class."
        )
        seen: dict[str, str] = {}
        for name in names:
            twin = seen.setdefault(normal(name), name)
            require(
                twin == name,
                f"data.path: {self.address} has two folders whose names differ only in how {normal(name)} is encoded "
                f"({twin!a} and {name!a}). Merge or rename them.",
            )

    def fingerprint(self) -> list[object]:
        """Return the number and size of the images, and a hash of their paths and stamps."""
        folders = hashlib.blake2b("\0".join(map(normal, self._folders)).encode(), digest_size=8).hexdigest()
        return [self.address, len(self._found.paths), self.total_bytes, self._found.digest(), folders]

    def labels(self) -> list[str]:
        """Return the names of the folders, sorted."""
        return sorted(map(normal, self._folders))

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(self._found.sizes)

    def read(self) -> Iterator[Item | Rejected]:
        """Return the images class by class."""
        filled = {path.partition("/")[0] for path in self._found.paths if "/" in path}
        for name in self._folders:
            if name not in filled:
                yield Rejected(f"{self.address}/{normal(name)}", "is a class folder without images")
        for relative, stamp, size in self._found:
            key = normal(relative)
            name = f"{self.address}/{key}"
            if "/" not in relative:
                yield Rejected(name, "is outside the class folders")
            elif not stamp:
                yield Rejected(name, "is a broken link")
            else:
                load = partial(load_file, f"{self.address}/{relative}", stamp)
                yield Item(name, key, key.partition("/")[0], None, suffix_of(relative), size, load)


def any_images(path: Path) -> Iterator[Item | Rejected]:
    """Yield one image, or all images at any depth in a folder, without labels; names start with `path` as given."""
    found = Listing()
    if path.is_file():
        found.add("", path.stat())
    else:
        found, _ = list_images(path, Counter())
    for relative, stamp, size in found:
        file = str(path / relative)
        name = normal(file)
        if stamp:
            yield Item(name, name, "", None, suffix_of(file), size, partial(load_file, file, stamp))
        else:
            yield Rejected(name, "is a broken link")


def split_of(root: Path) -> tuple[str, str | None] | None:
    """Return the folders of the training and the held-out images if a folder holds the parts of a split, else None."""
    parts = _parts(class_folders(root))
    return (str(root / parts[0]), str(root / parts[1]) if len(parts) > 1 else None) if parts else None


def class_folders(root: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted."""
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != ".")


def _parts(folders: list[str]) -> list[str]:
    """Return the folders, the training images' first, if all of them are parts of a split."""
    if not folders or any(name.casefold() not in PARTS for name in folders):
        return []
    return sorted(folders, key=lambda name: not name.casefold().startswith("train"))


def list_images(root: Path, skipped: Counter[str]) -> tuple[Listing, list[str]]:
    """Return all files with an image suffix, and the names of the folders at the top, both sorted.

    Args:
        root: The folder, searched at any depth; links are followed.
        skipped: Counts the files that are left out.
    """
    found = Listing()
    folders: list[str] = []

    def search(folder: Path, inside: str, above: frozenset[tuple[int, int]]) -> None:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: normal(entry.name))
        for entry in listed:
            if entry.name.startswith(".") or entry.name.lower() in JUNK:
                skipped["hidden or made by a file manager"] += 1
            elif entry.is_dir():
                status = entry.stat()
                here = (status.st_dev, status.st_ino)
                if here in above:
                    skipped["a link to a folder above it"] += 1
                    continue
                if not inside:
                    folders.append(entry.name)
                search(Path(entry.path), f"{inside}{entry.name}/", above | {here})
            elif suffix_of(entry.name) not in SUFFIXES_OF_IMAGES:
                skipped["without an image suffix"] += 1
            elif entry.is_file():
                found.add(inside + entry.name, entry.stat())
            elif entry.is_symlink():
                found.add(inside + entry.name, None)
            else:
                skipped["not a regular file"] += 1

    status = root.stat()
    search(root, "", frozenset({(status.st_dev, status.st_ino)}))
    return found, folders
