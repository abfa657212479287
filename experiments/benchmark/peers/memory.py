"""Peak memory of `harness train` on a CSV that comes through a FIFO, so that nothing but the table is on disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from experiments.benchmark.task import TARGET, Outcome, Task

COPIES = 5
"""The task's file is sent so many times, as one CSV."""


def train_from_fifo(task: Task) -> Outcome:
    """Train a batch run and a full-sample run for two epochs; `memory_mb` is the peak above `import tensorflow`."""
    size = Path(task.path).stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        fifo = Path(folder) / "rows.csv"
        os.mkfifo(fifo)
        feeder = threading.Thread(target=_feed, args=(Path(task.path), fifo), daemon=True)
        feeder.start()
        words = ["train", "-m", "data=csv", f"data.path={fifo}", f"data.features=[{','.join(task.features)}]"]
        words += [f"data.target={TARGET}", "chunksize=100,full", "epochs=2", "tracking.log_model=none"]
        training = _peak_mb([str(Path(sys.executable).with_name("harness")), *words], folder)
        feeder.join()
        importing = _peak_mb([sys.executable, "-c", "import tensorflow"], folder)
    figures = {"memory_mb": training - importing, "gigabytes": COPIES * size / 1e9}
    return Outcome(COPIES * task.rows, figures=figures)


def _feed(path: Path, fifo: Path) -> None:
    with fifo.open("wb") as sink:
        for copy in range(COPIES):
            with path.open("rb") as source:
                header = source.readline()
                if copy == 0:
                    sink.write(header)
                shutil.copyfileobj(source, sink)


def _peak_mb(command: list[str], folder: str) -> float:
    """Return a command's peak of resident memory.

    Raises:
        RuntimeError: The command failed.
    """
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} exited with code {process.returncode}: {errors.decode().strip()}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
