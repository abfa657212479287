"""How fast is a source read, and in how much memory is it trained on?

    python -m experiments.reading 1 10       gigabytes of CSV, made on the fly and read through a FIFO

Speed is that of making a table of two columns, against a bare parse of the same columns by pandas. For
memory, the command itself trains a batch run and a full-sample run for two epochs; its peak is compared with that of
`import tensorflow`. On disk there is the table only, of two of the 21 columns. Expected: about 400 MB above it, and the
same for any size.
"""

# pyright: reportArgumentType=false
from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from experiments.measuring import fresh_folder, measure, middle
from harness.config import DataConfig
from harness.data import synthetic_houses
from harness.data.table_builder import open_table

COLUMNS = ["sqft_living", "price"]
PIECE_ROWS = 500_000
WORDS = (
    "train -m data=csv data.features=[sqft_living] data.target=price chunksize=100,full epochs=2 learning_rate=0.01 "
    "tracking.log_model=none"
)


@dataclass(frozen=True)
class Usage:
    """What one process took: wall time in seconds, and its peak of resident memory in megabytes."""

    seconds: float
    peak_mb: float


def usage_of(command: list[str], folder: Path) -> Usage:
    """Run a command in a folder and return what it took.

    Raises:
        RuntimeError: It failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said.decode()}")
    return Usage(time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6)


def import_alone() -> Usage:
    """Return what `import tensorflow` takes."""
    return usage_of([sys.executable, "-c", "import tensorflow"], Path.cwd())


def train_from_fifo(gigabytes: float) -> tuple[int, Usage]:
    """Train on so much CSV out of a FIFO; return its rows, and what the command took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthetic_houses.generate(folder / "piece.csv", PIECE_ROWS)
        header, piece = (folder / "piece.csv").read_bytes().split(b"\n", 1)
        pieces = max(1, round(gigabytes * 1e9 / len(piece)))
        fifo = folder / "fifo"
        os.mkfifo(fifo)

        def feed() -> None:
            with fifo.open("wb") as sink:
                sink.write(header + b"\n")
                for _ in range(pieces):
                    sink.write(piece)

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        code = "import sys; from harness.cli import main; sys.argv[0] = 'harness'; main()"
        found = usage_of([sys.executable, "-c", code, *WORDS.split(), f"data.path={fifo}"], folder)
        feeder.join()
        return pieces * PIECE_ROWS, found


def parse(path: Path) -> None:
    """Parse two columns with pandas alone."""
    for _ in pd.read_csv(path, chunksize=100_000, usecols=COLUMNS, dtype=np.float32):
        pass


def ingest(path: Path) -> None:
    """Make a table of two columns."""
    with fresh_folder() as folder:
        open_table(DataConfig(features=COLUMNS[:1], target=COLUMNS[1], path=str(path)), folder)


def add_speeds(report: Table, path: Path, rows: int) -> float:
    """Add the speeds of a bare parse and of an ingest to a report; return the seconds of the bare parse."""
    # Alternating, so that other load on the machine affects both.
    works = partial(parse, path), partial(ingest, path)
    pairs = [tuple(measure(work, repeats=1)[0] for work in works) for _ in range(5)]
    parsed, made = (sorted(seconds) for seconds in zip(*pairs, strict=True))
    median = statistics.median(parsed)
    ratio = statistics.median(before / after for before, after in pairs)
    report.add_row("bare pandas parse, 2 of 21 columns", middle(parsed), "s", f"{rows / median / 1e6:.2f} M rows/s")
    report.add_row("ingest", middle(made), "s", f"{ratio:.2f} of the bare parse's speed")
    return median


def add_memory(report: Table, gigabytes: float) -> None:
    """Add the peak memory of training on so much CSV to a report.

    A process of its own measures it: the peak of a new process begins with the memory of the one that started it.
    """
    command = [sys.executable, "-m", "experiments.reading", str(gigabytes)]
    line = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    what, found, seconds = line.strip().split("; ")
    report.add_row(f"peak memory: {what}", *found.split(" ", 2)[:2], seconds)


def main() -> None:
    """Measure memory, and print a line for each size."""
    alone = import_alone()
    for gigabytes in map(float, sys.argv[1:] or ["1"]):
        rows, found = train_from_fifo(gigabytes)
        above = found.peak_mb - alone.peak_mb
        size = f"{gigabytes:g} GB through a FIFO, {rows:,} rows"
        print(f"{size}; {above:,.0f} MB above `import tensorflow`; 2 epochs, {found.seconds:,.0f} s in all")


if __name__ == "__main__":
    main()
