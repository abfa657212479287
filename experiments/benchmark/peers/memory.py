"""Peak memory of `harness train` on a CSV that comes through a FIFO, so that nothing but the table is on disk."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from experiments.benchmark.task import COLUMNS, Outcome, Task

COPIES = 5  # The task's file is sent this many times, as one CSV.


def train_from_fifo(task: Task) -> Outcome:
    """Train a batch run and a full-sample run; `memory_mb` is the peak above `import tensorflow`."""
    importing = _peak_mb([sys.executable, "-c", "import tensorflow"], "/")
    with tempfile.TemporaryDirectory() as folder:
        fifo = Path(folder) / "rows.csv"
        os.mkfifo(fifo)
        threading.Thread(target=_feed, args=(Path(task.path), fifo), daemon=True).start()
        command = [str(Path(sys.executable).with_name("harness")), "train", "-m", "data=csv", f"data.path={fifo}"]
        command += [f"data.features=[{COLUMNS[0]}]", f"data.target={COLUMNS[1]}", "chunksize=100,full", "epochs=2"]
        above = _peak_mb([*command, "tracking.log_model=none"], folder) - importing
    gigabytes = COPIES * Path(task.path).stat().st_size / 1e9
    return Outcome(task.rows, [], figures={"memory_mb": above, "gigabytes": gigabytes})


def _feed(path: Path, fifo: Path) -> None:
    with fifo.open("wb") as sink:
        for copy in range(COPIES):
            with path.open("rb") as source:
                header = source.readline()
                sink.write(b"" if copy else header)
                shutil.copyfileobj(source, sink)


def _peak_mb(command: list[str], folder: str) -> float:
    """Run a command; return the peak memory of the largest child so far, in Linux' unit of 1,024 bytes."""
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
