"""`ImageFiles`: images as the input of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.config import ImagesConfig
from harness.config.images import WEIGHTS
from harness.data.built_in import built_in_digits
from harness.data.images.backbone import fingerprint_of
from harness.data.images.decode import decoder
from harness.data.images.folder import ImageFolder, class_folders
from harness.data.images.ingest import ingest_images
from harness.data.images.list import ImageList, check_list, is_parquet_file
from harness.data.images.parquet import ImageParquet, holds_images
from harness.data.images.set import ImageSet
from harness.data.ingest import ProgressCallback
from harness.data.inputs import Fingerprint, Input, Say, origin_of
from harness.data.selection import BLOCK_BYTES
from harness.data.tables.table import Table
from harness.errors import require


class ImageFiles(Input):
    """A set of images to train on and, optionally, a set to hold out.

    Attributes:
        addresses: The addresses of the training images, the list of their labels, the held-out images and the weights
            of `data.embed`; only those that are set.
    """

    def __init__(self, addresses: Sequence[str], data: ImagesConfig) -> None:
        super().__init__(addresses)
        self._data = data
        given = {"path": True, "labels": data.labels, "holdout": data.holdout_path, "embed": data.backbone}
        self._named = dict(zip((role for role in given if given[role]), addresses, strict=True))
        self._listed: tuple[ImageSet, ImageSet | None] | None = None

    @classmethod
    def find(cls, data: ImagesConfig, cache: Path, say: Say) -> ImageFiles:
        """Resolve the paths in the configuration; without a path, write the built-in digits first if necessary.

        Raises:
            ConfigError: A path does not exist.
        """
        weights = data.backbone.get(WEIGHTS)
        given = (("path", data.path), ("labels", data.labels), ("holdout_path", data.holdout_path))
        given = (*given, (f"embed.{WEIGHTS}", weights))
        found = [] if data.path is not None else [str(built_in_digits(cache, say))]
        for key, name in given:
            if name:
                path = Path(name) if Path(name).exists() else Path(name).expanduser()
                origin = f" {origin_of(data)}" if origin_of(data) else ""
                is_there = path.is_file() if name is weights else path.exists()
                what = "file" if name is weights else "file or folder"
                require(is_there, f"data.{key}: no such {what}: {path.absolute()}.{origin}")
                found.append(str(path.absolute()))
        return cls(found, data)

    def fingerprints(self) -> list[Fingerprint]:
        """Return the fingerprint of each set, with the versions of the decoders."""
        train, holdout = self._listed = self.sets()
        marks: dict[str, Fingerprint] = {"path": [self._named["path"]]}
        marks["labels" if "labels" in self._named else "path"] = train.fingerprint()
        if holdout:
            marks["holdout"] = holdout.fingerprint()
        found = [[*mark, role, decoder()] for role, mark in marks.items()]
        if weights := self._named.get("embed"):
            found.append([*fingerprint_of(self._data.backbone, weights), "embed"])
        return found

    def sets(self) -> tuple[ImageSet, ImageSet | None]:
        """Return the training images and, if they are separate, the held-out images.

        Raises:
            ConfigError: A folder's layout or a file's columns are wrong.
        """
        path, labels, holdout = self._named["path"], self._named.get("labels"), self._named.get("holdout")
        if labels is None and Path(path).is_dir():
            self._refuse_columns(path)
        return self._open(path, labels, classes=2), self._open(holdout, None, classes=1) if holdout else None

    def check_layout(self) -> None:
        """Check what can be checked without listing a large folder, or reading a long list.

        Raises:
            ConfigError: A folder has no classes, or a file is neither Parquet nor a list.
        """
        path = Path(self.addresses[0])
        if path.is_file() and not is_parquet_file(str(path)):
            check_list(str(path))
        elif path.is_dir() and not self._data.labels and len(class_folders(path)) < 2:
            self.sets()

    def size(self) -> int:
        """Return the size of all images."""
        return sum(each.total_bytes for each in self._listed or self.sets() if each is not None)

    def ingest(self, folder: Path, progress: ProgressCallback, block_bytes: int = BLOCK_BYTES) -> Table:
        """Decode the images, listing them first unless they are already listed, and write their pixels and labels."""
        train, holdout = self._listed or self.sets()
        self._listed = None  # Reading changes a set's counts.
        return ingest_images(train, holdout, self._data, folder, progress, self._named.get("embed"))

    def _refuse_columns(self, folder: str) -> None:
        for key in ("group", "path_column", "label_column"):
            require(
                getattr(self._data, key) is None,
                f"data.{key}: {folder} is a folder of classes and has no columns. Name a list of its images with "
                f"data.labels, or remove data.{key}.",
            )

    def _open(self, address: str, labels: str | None, classes: int) -> ImageSet:
        if labels is not None:
            require(Path(address).is_dir(), f"data.path: {address} is not a folder, but data.labels needs one.")
            return ImageList(labels, self._data, address)
        if Path(address).is_dir():
            folder = ImageFolder(address)
            folder.check(classes)
            return folder
        if is_parquet_file(address) and holds_images(address, self._data):
            return ImageParquet(address, self._data)
        return ImageList(address, self._data, str(Path(address).parent))
