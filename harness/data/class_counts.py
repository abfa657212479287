"""How often each class occurs in each part of a table, kept with a sweep for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from harness.data.classes import class_counts, class_names
from harness.data.tables.pages import PARTS
from harness.escaping import csv_cell

if TYPE_CHECKING:
    from harness.data.tables.table import Table

FILE = "classes.csv"


def class_counts_csv(table: Table) -> str:
    """Return a CSV with the numbers of training and holdout rows of each class; empty if the target has no classes."""
    target = table.targets[0]
    if len(table.targets) != 1 or not target.categories:
        return ""
    names = [csv_cell(name) for name in class_names(target)]
    counts = {part: class_counts(table, part)[: len(names)] for part in PARTS}
    return pd.DataFrame({"class": names, **counts}).to_csv(index=False)
