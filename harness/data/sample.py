"""A sample of the training rows in original units, kept with a sweep for its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from harness.data.tables.table import Table

FILE = "sample.csv"
ROWS, PIECE = 2000, 100


def sample_csv(table: Table) -> str:
    """Return at most 2,000 training rows as a CSV; empty unless there are two columns, both numeric.

    Rows are taken in pieces from all parts of the table, because it may be sorted.
    """
    if len(table.columns) != 2 or any(column.categories or column.shape for column in table.columns):
        return ""
    if table.train_rows <= ROWS:
        stored = table.read("train", 0, table.train_rows)
    else:
        starts = np.linspace(0, table.train_rows - PIECE, ROWS // PIECE).astype(int)
        pieces = [table.read("train", start, start + PIECE) for start in starts.tolist()]
        stored = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    columns = {column.name: column.own_units(values) for column, values in zip(table.columns, stored, strict=True)}
    digits = 15 if any(column.offset for column in table.columns) else 7
    return pd.DataFrame(columns).to_csv(index=False, float_format=f"%.{digits}g")
