"""A Parquet file that holds images and their labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.config import ImagesConfig
from harness.data.arrow_errors import named_damage
from harness.data.images.list import as_text, columns_of, in_order, parquet_schema
from harness.data.images.set import NO_GROUP, SUFFIXES_OF_IMAGES, ImageSet, Item, Rejected, normal
from harness.data.storage.local import LocalFile
from harness.errors import require

BATCH_ROWS = 8
BUFFER_BYTES = 1 << 20


class ImageParquet(ImageSet):
    """Images in a column of bytes, or of `struct<bytes, path>`, in the order of the rows."""

    def __init__(self, address: str, data: ImagesConfig) -> None:
        """Read the schema.

        Raises:
            ConfigError: The file lacks these columns.
        """
        super().__init__(address)
        schema = parquet_schema(address)
        self._image, self._label = columns_of(address, schema.names, data)
        self._group = data.group
        self._names = _class_names(schema, self._label)
        kind = schema.field(self._image).type
        fields = {field.name for field in kind} if pa.types.is_struct(kind) else set()
        require(not fields or "bytes" in fields, f"{address}: the column {self._image} has no field bytes.")
        self._has_path = "path" in fields

    def fingerprint(self) -> list[object]:
        """Return the fingerprint of the file."""
        return LocalFile(self.address).fingerprint()

    def labels(self) -> list[str]:
        """Return the classes listed in the schema, or else the distinct labels, sorted."""
        if self._names:
            return self._names
        found: set[str] = set()
        for batch in self._batches([self._label], 1 << 16):
            found |= {*as_text(pc.unique(batch.column(0)))}
        return in_order(found - {""})

    @property
    def total_bytes(self) -> int:
        """Size of the file."""
        return LocalFile(self.address).size()

    def read(self) -> Iterator[Item | Rejected]:
        """Return the images row by row."""
        row = 0
        columns = [self._image, self._label, *([self._group] if self._group else [])]
        for batch in self._batches(columns, BATCH_ROWS):
            labels = as_text(batch.column(self._label))
            groups = as_text(batch.column(self._group)) if self._group else [None] * batch.num_rows
            for value, label, group in zip(batch.column(self._image), labels, groups, strict=True):
                row += 1
                yield self._item(row, value.as_py(), label, group)

    def _item(self, row: int, value: Any, label: str, group: str | None) -> Item | Rejected:
        data, path = (value.get("bytes"), value.get("path") or "") if isinstance(value, dict) else (value, "")
        name = f"{self.address}, row {row}{f' ({normal(path)})' if path else ''}"
        if not isinstance(data, bytes):
            return Rejected(name, "has no image")
        if self._names and label.isdecimal() and int(label) < len(self._names):
            label = self._names[int(label)]
        if not label or (self._names and label not in self._names):
            return Rejected(name, "has no label")
        if group == "":
            return Rejected(name, NO_GROUP)
        # Not the path: some writers give all images the same one.
        key = hashlib.blake2b(data, digest_size=16).hexdigest()
        suffix = PurePosixPath(path).suffix.lower()
        known = suffix if suffix in SUFFIXES_OF_IMAGES else ""
        return Item(name, key, label, group, known, len(data), partial(bytes, data))

    def _batches(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        # Read page by page; by default, Arrow would first read a whole row group of images.
        options: Any = {"buffer_size": BUFFER_BYTES, "pre_buffer": False}
        with named_damage(self.address), pq.ParquetFile(self.address, **options) as file:
            yield from file.iter_batches(rows, columns=columns)


def holds_images(address: str, data: ImagesConfig) -> bool:
    """Return True if the image column of a Parquet file contains bytes rather than paths."""
    schema = parquet_schema(address)
    kind = schema.field(columns_of(address, schema.names, data)[0]).type
    return pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_names(schema: pa.Schema, label: str) -> list[str]:
    """Return the class names that Hugging Face's `datasets` writes into the metadata of a column of indices."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        feature = json.loads(text)["info"]["features"][label]
        return [normal(str(name)) for name in feature["names"]] if feature["_type"] == "ClassLabel" else []
    except (ValueError, KeyError, TypeError):
        return []
