"""Peak memory of `harness train` on a CSV that is read from a pipe, so that only the table is on disk."""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from experiments.benchmark.task import COLUMNS, Outcome, Task


def train_from_pipe(task: Task) -> Outcome:
    """Train a batch run and a full-sample run; `memory_mb` is the peak above `import tensorflow`."""
    importing = peak_of([sys.executable, "-c", "import tensorflow"], "/")
    command = [str(Path(sys.executable).with_name("harness")), "train", "-m", "data=csv", "data.path=/dev/stdin"]
    command += [f"data.features=[{COLUMNS[0]}]", f"data.target={COLUMNS[1]}", "chunksize=100,full", "epochs=2"]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(["cat", task.path], stdout=subprocess.PIPE) as cat:
        above = peak_of([*command, "tracking.log_model=none"], folder, cat.stdout) - importing
    return Outcome(task.rows, [], figures={"memory_mb": above, "gigabytes": Path(task.path).stat().st_size / 1e9})


def peak_of(command: list[str], folder: str, source: IO[bytes] | None = None) -> float:
    """Run a command; return the peak memory of the largest child so far, in units of 1,024 bytes, as on Linux."""
    subprocess.run(command, cwd=folder, stdin=source, stdout=subprocess.DEVNULL, check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
