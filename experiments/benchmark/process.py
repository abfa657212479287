"""The peers, and how one is run in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.benchmark.task import Fit, Outcome, Task

LIMIT_SECONDS = 3600
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}


@dataclass(frozen=True)
class Peer:
    """A way to train, or something else to time.

    Attributes:
        label: Its name in tables.
        function: Module and function in `peers/`.
        needs: Packages it cannot do without.
        updates: Updates it is timed on, from the start of the file; longer tasks are scaled. None: it runs whole tasks.
        by_chunk: One update per chunk; otherwise one per row.
        adam: It has Adam, so its weights must equal the reference's.
    """

    label: str
    function: str
    needs: tuple[str, ...] = ()
    updates: int | None = None
    by_chunk: bool = True
    adam: bool = True


PEERS = {
    "harness": Peer("harness", "harness_command:train"),
    "jax": Peer("JAX, vmap and scan, polars", "jax_scan:train", ("jax", "polars")),
    "jax_mlflow": Peer("JAX, its runs in MLflow", "jax_scan:train_and_record", ("jax", "polars")),
    "keras": Peer("Keras fit, in memory", "keras_fit:train", updates=2000),
    "compiled": Peer("pandas chunks, compiled step", "loops:compiled", updates=500),
    "loop": Peer("plain loop: pandas chunks, eager Adam", "loops:eager", updates=200),
    "sklearn": Peer("scikit-learn partial_fit", "sklearn_sgd:train", updates=500, adam=False),
    "vw": Peer(
        "Vowpal Wabbit, cache",
        "vowpal_wabbit:train",
        ("vowpalwabbit", "polars"),
        updates=5000,
        by_chunk=False,
        adam=False,
    ),
    "constants": Peer("means and standard deviations", "reference:constants"),
    "reference": Peer("float64 reference", "reference:train"),
    "parse_pandas": Peer("bare parse, pandas", "parses:parse_pandas"),
    "parse_polars": Peer("bare parse, polars", "parses:parse_polars", ("polars",)),
    "memory": Peer("peak memory", "memory:train_from_fifo"),
}
PANDAS_LOOPS = ("loop", "compiled", "sklearn")
"""Peers that make one call per pandas chunk."""


def missing(name: str) -> str:
    """Return why a peer is skipped, or an empty string."""
    peer = PEERS[name]
    gone = [package for package in peer.needs if importlib.util.find_spec(package) is None]
    return f"{peer.label}: skipped, {', '.join(gone)} not installed (pip install -e '.[bench]')" if gone else ""


def run_peer(name: str, tasks: Sequence[Task]) -> list[Outcome]:
    """Run tasks one after the other in a new process.

    Raises:
        RuntimeError: The process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "outcomes.json"
        command = [sys.executable, "-m", "experiments.benchmark.child", name, repr(time.monotonic()), str(result)]
        done = subprocess.run(
            command,
            input=json.dumps([asdict(task) for task in tasks]),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            env=ENVIRONMENT | os.environ,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise RuntimeError(f"{PEERS[name].label} exited with code {done.returncode}: {last}")
        found = json.loads(result.read_text())
    return [Outcome(**outcome | {"fits": [Fit(**fit) for fit in outcome["fits"]]}) for outcome in found]
