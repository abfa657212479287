"""A complete table on disk: what it holds, and its rows.

A table is a folder with one raw little-endian float32 file for each column and part, and `table.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import Order
from harness.data.files import name_of
from harness.data.statistics import Column
from harness.data.table_writer import Part, column_path
from harness.errors import require

MANIFEST = "table.json"


@dataclass(frozen=True)
class Table:
    """A complete table.

    Attributes:
        folder: Where it is stored.
        address: Of the first file that it was made from, a path or URL without credentials.
        columns: Features in the model's order, the target last.
        train_rows: Rows to train on.
        holdout_rows: Rows held out.
        dropped: Rows left out because a field was empty.
        filled: Fields filled with the training mean, and empty categories.
        drift: How the target's mean drifts along the rows, in a sentence; empty if it does not.
        digest: Of all values, their names and their parts, 32 hexadecimal digits.
        order: Order of the training rows.
        split_seed: Seed of the split, and of the order of shuffled rows.
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
        """Name of the first file that it was made from."""
        return name_of(self.address)

    def rows(self, part: Part) -> int:
        """Return the number of rows of `part`."""
        return self.train_rows if part == "train" else self.holdout_rows

    @property
    def inputs(self) -> list[str]:
        """Names of a model's inputs: one for each category of a categorical feature, and one for all others."""
        return [name for column in self.columns[:-1] for name in _inputs(column)]

    def read(self, part: Part, start: int, stop: int) -> np.ndarray:
        """Return rows `[start, stop)` of `part`, unscaled, as float32 `[columns, rows]`."""
        out = np.empty((len(self.columns), stop - start), np.float32)
        for index, values in enumerate(out):
            with column_path(self.folder, part, index).open("rb") as file:
                file.seek(start * values.itemsize)
                # Buffered: one bare read stops at 2 GiB.
                got = file.readinto(values.data)
                require(got == values.nbytes, f"{file.name} is shorter than its table; remove the folder.")
        return out


def _inputs(column: Column) -> list[str]:
    values = [f"{value:g}" if isinstance(value, float) else value for value in column.categories]
    return [f"{column.name}/{value}" for value in ["other", *values]] if values else [column.name]


def load_table(folder: Path) -> Table:
    """Return the complete table in `folder`."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    data, files = manifest.pop("data"), manifest.pop("files")
    columns = [Column(**column | {"categories": tuple(column["categories"])}) for column in manifest.pop("columns")]
    return Table(
        folder=folder,
        address=files[0][0],
        columns=tuple(columns),
        order=Order(data["order"]),
        split_seed=data["split_seed"],
        **manifest,
    )
