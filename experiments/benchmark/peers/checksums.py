"""The cost of the checksums of a table's pages, relative to ingesting the CSV and to reading and scaling the table."""

import tempfile
import time
from pathlib import Path

from experiments.benchmark.task import Outcome, Task
from harness.config import DataConfig, Scaling
from harness.data.blocks import Blocks
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.runtime.state_files import checksum


def of_table(task: Task) -> Outcome:
    """Ingest, read, and recompute all checksums on one thread; the figures are percentages."""
    *features, target = task.columns
    data = DataConfig(features, target, path=task.path)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        table = open_table(data, Path(folder), lambda progress: None, lambda line: None)
        ingest = time.perf_counter() - start
        blocks = Blocks(table, "train", Scaler.of(table, Scaling.standard))
        start = time.perf_counter()
        for _ in blocks.read(1):
            pass
        read = time.perf_counter() - start
        reader, seconds = table.reader("train"), 0.0
        for first in range(0, table.train_rows, table.page_rows):
            for values in reader.read(first, min(first + table.page_rows, table.train_rows)):
                start = time.perf_counter()
                checksum(values.data)
                seconds += time.perf_counter() - start
    shares = {"of_ingest": 100 * seconds / ingest, "of_reading": 100 * seconds / read}
    return Outcome(task.rows, [seconds], figures=shares)
