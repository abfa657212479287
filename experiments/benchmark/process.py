"""The peers, and the code that runs each in its own process.

This module is also the child: `python -m experiments.benchmark.process NAME STARTED RESULT < tasks`.
"""

import importlib
import importlib.util
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.benchmark.task import Outcome, Task


@dataclass(frozen=True)
class Peer:
    """A way to train, or something else to time: a function in `peers/`, and the packages that it needs.

    A peer with `updates` is timed on that many updates, from the start of the file, and scaled. `by_chunk` means one
    update per chunk, otherwise one per row; `adam` means that its weights must agree with the reference's.
    """

    label: str
    function: str
    needs: tuple[str, ...] = ()
    updates: int | None = None
    by_chunk: bool = True
    adam: bool = True
    onednn: bool = False


VW_NEEDS = ("vowpalwabbit", "polars")
PEERS = {
    "harness": Peer("harness", "harness_command:train"),
    "jax": Peer("JAX, vmap and scan, polars", "jax_scan:train", ("jax", "polars")),
    "jax_mlflow": Peer("JAX, with MLflow runs", "jax_scan:train_and_record", ("jax", "polars")),
    "keras": Peer("Keras fit, in memory", "with_keras:fit", updates=2000),
    "compiled": Peer("pandas chunks, compiled step", "with_keras:compiled", updates=500),
    "loop": Peer("plain loop: pandas chunks, eager Adam", "with_keras:eager", updates=200),
    "sklearn": Peer("scikit-learn partial_fit", "row_by_row:scikit_learn", updates=500, adam=False),
    "vw": Peer("Vowpal Wabbit, cache", "row_by_row:vowpal_wabbit", VW_NEEDS, updates=5000, by_chunk=False, adam=False),
    "search": Peer("searches, harness", "search:with_harness"),
    "search_optuna": Peer("Optuna, a Keras fit for each trial", "search:with_optuna", ("optuna",)),
    "search_keras_tuner": Peer("Keras Tuner, Hyperband", "search:with_keras_tuner", ("keras_tuner", "tensorboard")),
    "reference": Peer("float64 reference", "reference:train"),
    "parse_pandas": Peer("bare parse, pandas", "reading:parse_pandas"),
    "checksums": Peer("checksums of a table", "checksums:of_table"),
    "memory": Peer("peak memory", "memory:train_from_pipe"),
    "images_decode": Peer("images, harness", "images:decode", onednn=True),
    "images_decode_keras": Peer("images, Keras", "images:decode_with_keras", onednn=True),
    "images_decode_antialiased": Peer("images, tf.data", "images:decode_antialiased", onednn=True),
    "images_fit": Peer("images, Keras fit", "images:fit", onednn=True),
    "images_train": Peer("images, harness", "images:train", onednn=True),
    "images_memory": Peer("images, peak memory", "images:train_in_little_memory", onednn=True),
}


def missing(name: str) -> str:
    """Return why a peer is skipped, or an empty string."""
    peer = PEERS[name]
    gone = [package for package in peer.needs if importlib.util.find_spec(package) is None]
    return f"{peer.label}: skipped, {', '.join(gone)} not installed (pip install -e '.[bench]')" if gone else ""


def run_peer(name: str, tasks: Sequence[Task]) -> list[Outcome]:
    """Run tasks one after another in a new process.

    Raises:
        RuntimeError: The process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "outcomes"
        command = [sys.executable, "-m", "experiments.benchmark.process", name, repr(time.monotonic()), str(result)]
        # Without it, convolutions take several times as long, both in the harness and in Keras.
        environment = os.environ | ({"TF_ENABLE_ONEDNN_OPTS": "1"} if PEERS[name].onednn else {})
        done = subprocess.run(
            command, input=pickle.dumps(list(tasks)), capture_output=True, timeout=3600, env=environment
        )
        if done.returncode:
            last = (done.stderr.decode().strip().splitlines() or ["no output"])[-1]
            raise RuntimeError(f"{PEERS[name].label} exited with code {done.returncode}: {last}")
        return pickle.loads(result.read_bytes())


def peak_mb() -> float:
    """Return this program's peak memory. `getrusage` also counts what the parent had when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _child(name: str, started: str, result: str) -> None:
    tasks: list[Task] = pickle.load(sys.stdin.buffer)
    module, _, function = PEERS[name].function.partition(":")
    run = getattr(importlib.import_module(f"experiments.benchmark.peers.{module}"), function)
    startup = time.monotonic() - float(started)
    outcomes = []
    for task in tasks:
        _read_once(Path(task.path))
        outcome = run(task)
        outcome.startup += startup
        outcome.peak_mb = outcome.peak_mb or peak_mb()
        outcomes.append(outcome)
    Path(result).write_bytes(pickle.dumps(outcomes))


def _read_once(path: Path) -> None:
    """Read a file, or the images in a folder, so that disk access is not measured."""
    if path.is_file():
        subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)
    for image in path.rglob("*.jpg"):
        image.read_bytes()


if __name__ == "__main__":
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
    os.environ.update(quiet | os.environ)
    _child(*sys.argv[1:])
