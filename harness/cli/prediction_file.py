"""Writes predictions as CSV."""

from __future__ import annotations

import contextlib
import csv
import itertools
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from harness.data.storage.local import written_whole
from harness.errors import require


def write_predictions(titles: Sequence[str], frames: Generator[pd.DataFrame], output: Path | None) -> None:
    """Write a header and all rows to a file or to standard output; nothing if the first rows cannot be predicted."""
    with _sink_of(output) as sink, contextlib.closing(frames):
        first = list(itertools.islice(frames, 1))
        for frame in itertools.chain([pd.DataFrame([titles])], first, frames):
            _write_rows(frame, sink)


def _write_rows(frame: pd.DataFrame, sink: TextIO) -> None:
    # A CR also ends a line, but Python's writer does not quote it.
    has_cr = any(frame[name].str.contains("\r", regex=False).any() for name in frame.select_dtypes("str"))
    quoting: Any = csv.QUOTE_NONNUMERIC if has_cr else csv.QUOTE_MINIMAL
    digits = 17 if (frame.dtypes == np.float64).any() else 9  # Enough digits to tell all values of the type apart.
    frame.to_csv(sink, index=False, header=False, float_format=f"%.{digits}g", quoting=quoting)


@contextlib.contextmanager
def _sink_of(output: Path | None) -> Iterator[TextIO]:
    """Yield where to write: a file that gets its name only when it is complete, or standard output."""
    if output is None:
        yield sys.stdout
        return
    require(output.absolute().parent.is_dir(), f"--output: no such folder: {output.parent}")
    with written_whole(output) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield file
