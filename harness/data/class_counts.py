"""How often each class occurs in each part of a table, kept with a sweep for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.data.tables.pages import PARTS

if TYPE_CHECKING:
    from harness.data.tables.table import Table

FILE = "classes.csv"


def class_counts_csv(table: Table) -> str:
    """Return a row for each class with its training and holdout rows as a CSV; empty if the target has no classes."""
    target = table.targets[0]
    if len(table.targets) != 1 or not target.categories:
        return ""
    counts: dict[str, list] = {"class": list(target.categories)}
    for part in PARTS:
        found = np.zeros(len(target.categories), np.int64)
        reader, rows = table.reader(part, [target]), table.rows(part)
        for start in range(0, rows, table.page_rows):
            (values,) = reader.read(start, min(start + table.page_rows, rows))
            found += np.bincount(values.astype(np.int64), minlength=len(found))
        counts[part] = found.tolist()
    return pd.DataFrame(counts).to_csv(index=False)
