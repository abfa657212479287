"""A complete table on disk: its metadata and its rows.

A table is a folder that holds a manifest, the checksums of all pages, and one file for each column and part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import AnyData, Order
from harness.data.statistics import Column, input_keys
from harness.data.storage.urls import name_of
from harness.data.tables.manifest import Facts, Manifest, digest_of, key_of, read_manifest, write_manifest
from harness.data.tables.pages import (
    ALL_PARTS,
    PARTS,
    SUM_BYTES,
    DamagedTable,
    PageReader,
    Part,
    column_path,
)
from harness.runtime.secrets import masked
from harness.runtime.state_files import StateError, read_state, write_state

SUMS = "pages.sums"
NAMES = "holdout.names"
"""File with a line for each held-out row that has a name, such as an image; used only for display."""
SUMS_KIND = "table pages 3"


@dataclass(frozen=True)
class Table(Facts):
    """A complete table.

    Attributes:
        folder: Where it is stored.
        address: Path or URL of the first file that it was created from, without credentials.
        digest: Digest of what the table holds, as 32 hexadecimal digits.
        split_seed: Seed of the split and of the order of shuffled rows.
        sums: The checksums of all pages: first those of the training rows, column by column, then those of the other
            parts.
    """

    folder: Path
    address: str
    digest: str
    order: Order
    split_seed: int
    sums: bytes = field(repr=False)

    @classmethod
    def of(cls, facts: Facts, sums: bytes, folder: Path, address: str, data: AnyData) -> Table:
        """Return the table that was created from `data` and holds these facts."""
        own = {"address": address, "digest": digest_of(facts, sums), "order": data.order, "split_seed": data.split_seed}
        return cls(**facts.values(), **own, folder=folder, sums=sums)

    @property
    def name(self) -> str:
        """Name of the first file that the table was created from."""
        return name_of(self.address)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Features in the model's order, then targets, then weights."""
        return (*self.features, *self.targets, *self.weights)

    @property
    def inputs(self) -> list[str]:
        """Keys of a model's inputs; a categorical feature has one key per category and one for all other values."""
        return input_keys(self.features)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts for which the table has files."""
        return ALL_PARTS if self.test_rows else PARTS

    def rows(self, part: Part) -> int:
        """Return the number of rows of `part`."""
        return {"train": self.train_rows, "holdout": self.holdout_rows, "test": self.test_rows}[part]

    def read(self, part: Part, start: int, stop: int) -> list[np.ndarray]:
        """Return rows `[start, stop)` of `part`: for each column, its stored values."""
        return self.reader(part).read(start, stop)

    def reader(self, part: Part, columns: Sequence[Column] = ()) -> PageReader:
        """Return a reader of some or all columns; use it to read a part from start to end."""
        chosen = {index: column for index, column in enumerate(self.columns) if not columns or column in columns}
        size = SUM_BYTES * self.pages(part)
        before = sum(map(self.pages, ALL_PARTS[: ALL_PARTS.index(part)]))
        start = SUM_BYTES * before * len(self.columns)
        sums = [self.sums[start + index * size : start + (index + 1) * size] for index in range(len(self.columns))]
        return PageReader(self.folder, part, chosen, self.rows(part), self.page_rows, sums)

    def read_pages(self, part: Part, columns: Sequence[Column] = ()) -> Iterator[list[np.ndarray]]:
        """Yield the stored values of some or all columns of a part, page by page.

        Raises:
            DamagedTable: A page does not match its checksum.
        """
        reader, rows = self.reader(part, columns), self.rows(part)
        for start in range(0, rows, self.page_rows):
            yield reader.read(start, min(start + self.page_rows, rows))

    def pages(self, part: Part) -> int:
        """Return the number of pages of each column of `part`."""
        return -(-self.rows(part) // self.page_rows)

    def check(self) -> None:
        """Read all pages, and compare them with their checksums.

        Raises:
            DamagedTable: A page does not match.
        """
        for part in self.parts:
            for _ in self.read_pages(part):
                pass


def save_table(table: Table, files: Sequence[Sequence[object]], data: AnyData) -> None:
    """Write what `load_table` reads, with the fingerprints of the `files` and the configuration used."""
    write_state(table.folder / SUMS, SUMS_KIND, table.sums)
    path = [masked(name) for name in data.path] if isinstance(data.path, list) else data.path and masked(data.path)
    facts = Facts(**table.values())
    known: list = [list(file) for file in files]
    recorded: Any = replace(data, path=path)
    write_manifest(table.folder, Manifest(known, recorded, facts, table.digest))


def load_table(folder: Path) -> Table:
    """Return the complete table in `folder`, after checking everything except the pages of its columns.

    Raises:
        FileNotFoundError: There is no manifest.
        DamagedTable: The table's files do not belong together.
        StateError: The manifest cannot be used.
    """
    manifest = read_manifest(folder)
    if key_of(manifest.files, manifest.data) != folder.name:
        raise DamagedTable(folder, "its manifest belongs to another table")
    try:
        sums = read_state(folder / SUMS, SUMS_KIND)
    except FileNotFoundError as error:
        raise DamagedTable(folder, f"{SUMS} is missing") from error
    except StateError as error:
        raise DamagedTable(folder, str(error).rstrip(".")) from error
    table = Table.of(manifest.facts, sums, folder, str(manifest.files[0][0]), manifest.data)
    if table.digest != manifest.digest:
        raise DamagedTable(folder, f"its manifest or {SUMS} was changed or belongs to another table")
    for part in table.parts:
        for index, column in enumerate(table.columns):
            _check_size(column_path(folder, part, index), table.rows(part) * column.value_bytes)
    return table


def _check_size(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except FileNotFoundError as error:
        raise DamagedTable(path.parent, f"{path.name} is missing") from error
    if found != size:
        raise DamagedTable(path.parent, f"{path.name} has {found:,} bytes instead of {size:,}")
