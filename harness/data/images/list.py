"""A CSV or Parquet file that lists images and their labels."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.config import ImagesConfig
from harness.data.arrow_errors import named_damage
from harness.data.csv.text import open_bytes
from harness.data.images.folder import Listing
from harness.data.images.set import NO_GROUP, ImageSet, Item, Rejected, load_file, normal, suffix_of
from harness.data.source import check_names
from harness.data.storage.local import LocalFile
from harness.data.vocabulary import plain_number
from harness.errors import ConfigError, require

PATHS = ("path", "file", "filename", "file_name", "image")
LABELS = ("label", "class", "category", "target", "y")


class ImageList(ImageSet):
    """Images whose paths are in a column of a file, in the order of its rows."""

    def __init__(self, address: str, data: ImagesConfig, base: str) -> None:
        """Read the file; paths in it are relative to the folder `base`.

        Raises:
            ConfigError: The file cannot be parsed, or lacks these columns.
        """
        super().__init__(address)
        is_parquet = is_parquet_file(address)
        if not is_parquet:
            check_list(address)
        names = parquet_schema(address).names if is_parquet else _read_csv(address, nrows=0).columns.to_list()
        path, label = columns_of(address, names, data)
        wanted = [path, label, *([data.group] if data.group else [])]
        if is_parquet:
            with named_damage(address):
                table = pq.read_table(address, columns=wanted)
            columns = [as_text(table[name]) for name in wanted]
        else:
            frame = _read_csv(address, usecols=wanted)
            columns = [frame[name].to_list() for name in wanted]
        self._labels = [sys.intern(label) for label in columns[1]]
        self._groups = columns[2] if data.group else None
        self._base = Path(base)
        self._found = Listing()
        for path in columns[0]:
            self._found.add(path, _status(self._base / path) if path else None)

    def fingerprint(self) -> list[object]:
        """Return the fingerprint of the file, and a hash of the stamps of the images."""
        stamps = hashlib.blake2b(self._found.stamps.tobytes(), digest_size=16).hexdigest()
        return [*LocalFile(self.address).fingerprint(), len(self._labels), stamps]

    def labels(self) -> list[str]:
        """Return the distinct labels, sorted numerically if all of them are numbers."""
        return in_order({*self._labels} - {""})

    @property
    def total_bytes(self) -> int:
        """Size of all images."""
        return sum(self._found.sizes)

    def read(self) -> Iterator[Item | Rejected]:
        """Return the images row by row."""
        for row, ((path, stamp, size), label) in enumerate(zip(self._found, self._labels, strict=True), start=1):
            name = f"{self.address}, row {row}: {normal(path) or 'the image'}"
            if not path:
                yield Rejected(name, "has no path")
            elif not stamp:
                yield Rejected(name, "does not exist")
            elif not label:
                yield Rejected(name, "has no label")
            elif self._groups is not None and not self._groups[row - 1]:
                yield Rejected(name, NO_GROUP)
            else:
                load = partial(load_file, str(self._base / path), stamp)
                key = normal(PurePosixPath(path).as_posix())
                group = self._groups[row - 1] if self._groups is not None else None
                yield Item(name, key, label, group, suffix_of(path), size, load)


def check_list(address: str) -> None:
    """Raise `ConfigError` if the first bytes of a file are not those of a CSV."""
    with open_bytes(LocalFile(address)):
        pass


def is_parquet_file(address: str) -> bool:
    """Return True if a file starts with Parquet's magic bytes."""
    with LocalFile(address).open() as file:
        return file.read(4) == b"PAR1"


def parquet_schema(address: str) -> pa.Schema:
    """Return the columns of a Parquet file.

    Raises:
        ConfigError: The file is damaged.
    """
    with named_damage(address):
        return pq.read_schema(address)


def columns_of(address: str, names: Sequence[str], data: ImagesConfig) -> tuple[str, str]:
    """Return the columns with images and labels, as configured or else by their usual names.

    Raises:
        ConfigError: A column does not exist.
    """
    found = []
    for key, given, usual in (("path", data.path_column, PATHS), ("label", data.label_column, LABELS)):
        if given is None:
            alike = {name.casefold(): name for name in names}
            given = next((alike[name] for name in usual if name in alike), None)
            listed = ", ".join(map(str, names[:30]))
            what = "the images" if key == "path" else "the labels"
            require(
                given is not None,
                f"{address}: no column has one of the usual names for {what}. "
                f"Set data.{key}_column to one of: {listed}.",
            )
        found.append(str(given))
    check_names(address, names, [*found, *([data.group] if data.group else [])])
    return found[0], found[1]


def as_text(values: pa.ChunkedArray | pa.Array) -> list[str]:
    """Return values as text: whole numbers without a decimal point, missing values as empty text."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()
        return ["" if np.isnan(number) else np.format_float_positional(number, trim="-") for number in numbers]
    return ["" if value is None else str(value) for value in values.to_pylist()]


def in_order(labels: set[str]) -> list[str]:
    """Return sorted labels, in numerical order if all of them are plain numbers."""
    numbers = {label: plain_number(label) for label in labels}
    return sorted(labels) if any(map(np.isnan, numbers.values())) else sorted(labels, key=lambda label: numbers[label])


def _read_csv(address: str, **options: object) -> pd.DataFrame:
    try:
        return pd.read_csv(address, dtype=str, keep_default_na=False, **options)  # type: ignore[call-overload]
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(f"{address} is neither Parquet nor a CSV that lists images ({reason}).") from error


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat() if path.is_file() else None
    except (OSError, ValueError):
        return None
