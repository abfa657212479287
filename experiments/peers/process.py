"""Who the peers are, and how they are started."""

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

from experiments.peers.task import Fit, Outcome, Task

LIMIT_SECONDS = 3600
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}


@dataclass(frozen=True)
class Peer:
    """A way to train.

    Attributes:
        label: In a few words.
        work: Module and function.
        needs: Packages that it cannot do without.
        updates: Timed on as many, or fewer; what is longer is scaled from them. None means that it is run whole.
        rows: Timed on at most as many.
        chunks: Whether it makes one update a chunk; else one a row.
        adam: Whether it has Adam, and so must come to the reference's weights.
    """

    label: str
    work: str
    needs: tuple[str, ...] = ()
    updates: int | None = None
    rows: int = 1_000_000
    chunks: bool = True
    adam: bool = True


PEERS = {
    "ours": Peer("harness", "ours:train"),
    "jax": Peer("JAX, vmap and scan, polars", "scan:train", ("jax", "polars")),
    "jax_tracked": Peer("JAX, its runs in MLflow", "scan:tracked", ("jax", "polars")),
    "fit_memory": Peer("Keras fit, in memory", "fit:memory", updates=2000),
    "fit_generator": Peer("Keras fit, generator", "fit:generator", updates=500),
    "fit_csv": Peer("Keras fit, make_csv_dataset", "fit:csv", updates=500, rows=100_000),
    "compiled": Peer("pandas chunks, compiled step", "loops:compiled", updates=500),
    "loop": Peer("plain loop: pandas chunks, eager Adam", "loops:eager", updates=200),
    "sgd": Peer("scikit-learn partial_fit", "sgd:train", updates=500, adam=False),
    "vw": Peer(
        "Vowpal Wabbit, cache", "vowpal:train", ("vowpalwabbit", "polars"), updates=5000, chunks=False, adam=False
    ),
    "reference": Peer("float64 reference", "reference:train"),
    "constants": Peer("means and deviations", "reference:constants"),
    "parse_pandas": Peer("bare parse, pandas", "limits:parse_pandas"),
    "parse_polars": Peer("bare parse, polars", "limits:parse_polars", ("polars",)),
    "table": Peer("bare read of the table", "limits:read_table"),
    "copy": Peer("memory bandwidth", "limits:copy"),
    "matmul": Peer("arithmetic peak", "limits:matmul"),
}
PER_CHUNK = ("loop", "compiled", "fit_generator", "sgd")
"""Those that update every so many rows from pandas chunks."""


def missing(name: str) -> str:
    """Return why a peer cannot take part, or nothing."""
    peer = PEERS[name]
    gone = [package for package in peer.needs if importlib.util.find_spec(package) is None]
    return f"{peer.label}: skipped, no {' and no '.join(gone)} here (pip install -e '.[bench]')" if gone else ""


def measure(name: str, tasks: Sequence[Task]) -> list[Outcome]:
    """Have a peer do tasks, one after the other, in a process of its own.

    Raises:
        RuntimeError: It failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "outcomes.json"
        command = [sys.executable, "-m", "experiments.peers", name, repr(time.monotonic()), str(result)]
        done = subprocess.run(
            command,
            input=json.dumps([asdict(task) for task in tasks]),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            env=ENVIRONMENT | os.environ,
        )
        if done.returncode:
            *_, last = ["nothing said", *done.stderr.strip().splitlines()]
            raise RuntimeError(f"{PEERS[name].label} ended with {done.returncode}: {last}")
        found = json.loads(result.read_text())
    return [Outcome(**outcome | {"fits": [Fit(**fit) for fit in outcome["fits"]]}) for outcome in found]
