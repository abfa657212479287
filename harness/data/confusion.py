"""A run's confusion matrix as a CSV among its artifacts: a row for each class, a column for each prediction."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np

from harness.data.classes import class_names
from harness.escaping import csv_cell

if TYPE_CHECKING:
    from harness.data.tables.table import Table

FILE = "confusion.csv"


def confusion_csv(table: Table, counts: np.ndarray) -> str:
    """Return the numbers of holdout rows, `[classes, classes]`, as a CSV with the names of the target's classes."""
    names = [csv_cell(name) for name in class_names(table.targets[0]) or ["0", "1"]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *names])
    writer.writerows([name, *row] for name, row in zip(names, counts.tolist(), strict=True))
    return text.getvalue()
