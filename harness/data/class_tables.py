"""How often each class occurs, and is confused with others: CSV files kept with a sweep and with its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.data.classes import class_counts, class_names
from harness.data.tables.pages import PARTS
from harness.escaping import csv_cell

if TYPE_CHECKING:
    from harness.data.tables.table import Table

COUNTS_FILE = "classes.csv"
CONFUSION_FILE = "confusion.csv"


def class_counts_csv(table: Table) -> str:
    """Return a CSV with the numbers of training and holdout rows of each class; empty if the target has no classes."""
    target = table.targets[0]
    if len(table.targets) != 1 or not target.categories:
        return ""
    names = [csv_cell(name) for name in class_names(target)]
    counts = {part: class_counts(table, part)[: len(names)] for part in PARTS}
    return pd.DataFrame({"class": names, **counts}).to_csv(index=False)


def confusion_csv(table: Table, counts: np.ndarray) -> str:
    """Return the numbers of holdout rows, `[classes, predicted classes]`, as a CSV with the names of the classes."""
    names = [csv_cell(name) for name in class_names(table.targets[0]) or ["0", "1"]]
    return pd.DataFrame(counts, names, names).to_csv(index_label="class")
