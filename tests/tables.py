"""Helpers that read a table, or the message why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.config import Order
from harness.data.split import Split
from harness.data.statistics import Column
from harness.data.tables.manifest import Facts
from harness.data.tables.pages import Part, column_path
from harness.data.tables.table import Table
from harness.errors import ConfigError

SMALL = "a,text,b,y\n1,u,-1,10\n2,v,-2,2e1\n3,w,-3,30\n4,x,-4,40\n5,y,-5,50\n"


def held_out(first_row: int, count: int, fraction: float, seed: int) -> np.ndarray:
    """Return which rows are held out, bool `[count]`."""
    return Split(seed, (0, int(fraction * 2**64)), 2**64).parts(first_row, count)["holdout"]


def rows(table: Table, part: Part = "train") -> np.ndarray:
    """Return all rows of a part as float32, `[rows, columns]`."""
    offsets = np.array([column.offset for column in table.columns])
    return (stored(table, part) + offsets).astype(np.float32)


def stored(table: Table, part: Part = "train") -> np.ndarray:
    """Return all rows of a part as they are stored, `[rows, columns]`."""
    return np.stack(table.read(part, 0, table.rows(part)), axis=1)


def table_without_files(
    columns: Sequence[Column], train_rows: int, holdout_rows: int = 0, folder: str = "", digest: str = ""
) -> Table:
    """Return a table that has metadata only; the last column is the target."""
    facts = Facts((*columns[:-1],), (columns[-1],), 65_536, train_rows, holdout_rows, 0, 0, "")
    place = {"folder": Path(folder), "address": str(Path(folder, "data.csv"))}
    return Table(**facts.values(), **place, digest=digest, order=Order.file, split_seed=0, sums=b"")


def numbered(count: int, *, gaps: int = 0) -> str:
    """Return a CSV of `count` rows, numbered in the column `row`; in every `gaps`-th row, `a` is empty."""
    lines = (f"{'' if gaps and not row % gaps else row * row},{row + 1},{row}" for row in range(count))
    return "a,y,row\n" + "\n".join(lines)


def age(table: Table) -> tuple[int, int]:
    """Return what changes when a table is rebuilt."""
    status = column_path(table.folder, "train", 0).stat()
    return status.st_ino, status.st_mtime_ns


def refusal(make_table: Callable[..., Table], source: str | Path, **options: object) -> str:
    with pytest.raises(ConfigError) as error:
        make_table(source, **options)
    return str(error.value)
