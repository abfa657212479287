"""Writes predictions as CSV."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from harness.data.storage.local import written_whole
from harness.errors import require


def write_rows(rows: pd.DataFrame | list[str], sink: TextIO) -> None:
    """Append rows, or the header, to the output."""
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame([rows])
    # A CR also ends a line, but Python's writer does not quote it.
    has_cr = any(frame[name].str.contains("\r", regex=False).any() for name in frame.select_dtypes("str"))
    quoting: Any = csv.QUOTE_NONNUMERIC if has_cr else csv.QUOTE_MINIMAL
    digits = 17 if (frame.dtypes == np.float64).any() else 9  # Enough digits to tell all values of the type apart.
    frame.to_csv(sink, index=False, header=False, float_format=f"%.{digits}g", quoting=quoting)


@contextlib.contextmanager
def sink_of(output: Path | None) -> Iterator[TextIO]:
    """Yield where to write: a file that gets its name only when it is complete, or standard output."""
    if output is None:
        yield sys.stdout
        return
    require(output.absolute().parent.is_dir(), f"--output: no such folder: {output.parent}")
    with written_whole(output) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield file
