"""Does memory grow with the file?

    python -m experiments.memory 1 10        gigabytes of CSV, made on the fly and read through a FIFO

Trains a batch run and a full-sample run for two epochs with the command itself, and compares its peak memory with that
of `import tensorflow`. On disk there is the table only, of two of the 21 columns. Expected: under 400 MB above it, and
the same for any size.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from harness import houses

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
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Usage(time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6)


def import_alone() -> Usage:
    """Return what `import tensorflow` takes."""
    return usage_of([sys.executable, "-c", "import tensorflow"], Path.cwd())


def train_from_fifo(gigabytes: float) -> tuple[int, Usage]:
    """Train on so much CSV out of a FIFO; return its rows, and what the command took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        houses.generate(folder / "piece.csv", PIECE_ROWS)
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


def main() -> None:
    """Measure, and print a line for each size."""
    alone = import_alone()
    print(f"import tensorflow: {alone.peak_mb:,.0f} MB")
    for gigabytes in map(float, sys.argv[1:] or ["1"]):
        rows, found = train_from_fifo(gigabytes)
        above = found.peak_mb - alone.peak_mb
        print(f"{gigabytes:g} GB, {rows:,} rows: {above:,.0f} MB above it at the peak, {found.seconds:,.1f} s in all")


if __name__ == "__main__":
    main()
