"""A complete table on disk: its metadata and its rows.

A table is a folder that holds `table.json` and one raw little-endian float32 file for each column and part.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import Order
from harness.data.statistics import Column, input_keys
from harness.data.table_writer import Part, column_path
from harness.data.urls import name_of
from harness.errors import require

MANIFEST = "table.json"


@dataclass(frozen=True)
class Table:
    """A complete table.

    Attributes:
        folder: Where it is stored.
        address: Path or URL of the first file it was made from, without credentials.
        columns: Features in the model's order, the target last.
        dropped: Rows left out because a field was empty.
        filled: Number of fields filled with the training mean, plus the number of empty categories.
        drift: A sentence on how the target's mean drifts along the rows; empty if it does not.
        digest: Digest of all values, column names and parts, as 32 hexadecimal digits.
        split_seed: Seed of the split and of the order of shuffled rows.
    """

    folder: Path
    address: str
    columns: tuple[Column, ...]
    train_rows: int
    holdout_rows: int
    dropped: int
    filled: int
    drift: str
    digest: str
    order: Order
    split_seed: int

    @property
    def name(self) -> str:
        """Name of the first file that the table was made from."""
        return name_of(self.address)

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that a model takes, in its order."""
        return self.columns[: -len(self.targets)]

    @property
    def targets(self) -> tuple[Column, ...]:
        """The columns that a model predicts."""
        return self.columns[-1:]

    @property
    def inputs(self) -> list[str]:
        """Keys of a model's inputs; a categorical feature has one for each category and one for all other values."""
        return input_keys(self.features)

    def rows(self, part: Part) -> int:
        """Return the number of rows of `part`."""
        return self.train_rows if part == "train" else self.holdout_rows

    def read(self, part: Part, start: int, stop: int) -> np.ndarray:
        """Return rows `[start, stop)` of `part`, unscaled, as float32 `[columns, rows]`."""
        out = np.empty((len(self.columns), stop - start), np.float32)
        for index, values in enumerate(out):
            with column_path(self.folder, part, index).open("rb") as file:
                file.seek(start * values.itemsize)
                # Buffered, because a single unbuffered read stops at 2 GiB.
                got = file.readinto(values.data)
                require(got == values.nbytes, f"{file.name} is truncated; remove its folder.")
        return out


def save_table(table: Table, files: Sequence[Sequence[object]], data: Mapping[str, object]) -> None:
    """Write what `load_table` reads, with the fingerprints of the `files` and the configuration used."""
    derived = ("folder", "address", "order", "split_seed")
    values = {key: value for key, value in asdict(table).items() if key not in derived}
    with (table.folder / MANIFEST).open("w") as file:
        json.dump({"files": files, "data": data, **values}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def load_table(folder: Path) -> Table:
    """Return the complete table in `folder`."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    data, files = manifest.pop("data"), manifest.pop("files")
    columns = tuple(Column(**each | {"categories": tuple(each["categories"])}) for each in manifest.pop("columns"))
    order, seed = Order(data["order"]), data["split_seed"]
    return Table(folder, files[0][0], columns, **manifest, order=order, split_seed=seed)
