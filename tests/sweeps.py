"""Sweeps without a store: runs and curves as `RunReader.load` returns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.tracking.frames import NOTHING, Sweep, typed

ROWS = 1000
AXES = ["run_id", "metric", "step", "value", "epoch", "updates", "rows", "seconds"]
COMMON = {
    "loss": "mse",
    "data.features": "[x]",
    "data.target": "y",
    "data.scaling": "standard",
    "data.log_columns": "[]",
}


def run(
    chunk: int | str,
    losses: Sequence[float],
    *,
    rate: str = "0.1",
    seed: str = "0",
    seconds: float = 1.0,
    shared_by: int = 1,
    status: str = "FINISHED",
    **more: Any,
) -> dict[str, Any]:
    """A run over 1,000 rows with `losses` at the end of its epochs, which take `seconds` each."""
    updates = 1 if chunk == "full" else -(-ROWS // int(chunk))
    values = {
        "name": f"{chunk} {rate} {seed}",
        "status": status,
        "sample": "full" if chunk == "full" else "batch",
        "diverged_at": None,
        **COMMON,
        "chunksize": str(chunk),
        "learning_rate": rate,
        "epochs": str(len(losses)),
        "seed": seed,
        "updates": float(updates * len(losses)),
        "memory/update_mb": (ROWS if chunk == "full" else int(chunk)) * 8 / 1e6,
        "time/train_s": seconds * len(losses),
        "curve": [(epoch, loss, epoch * updates, seconds * epoch) for epoch, loss in enumerate(losses, 1)],
    }
    ended = {"time/shared_by": float(shared_by)} if status == "FINISHED" else {}  # Recorded at the end.
    return values | ended | ({"val/loss": losses[-1]} if losses else {}) | more


def sweep_of(*rows: Mapping[str, Any], metric: str = "val/loss", **more: Any) -> Sweep:
    """A sweep of runs returned by `run`, or of rows from a store, which have no curves."""
    told = {"run_id", "name", "status", "sample", "diverged_at"}
    texts = (key for row in rows for key, value in row.items() if isinstance(value, str))
    runs = [{"run_id": str(index), **row} for index, row in enumerate(rows)]
    points = [
        (values["run_id"], metric, epoch, loss, epoch, updates, epoch * ROWS, seconds)
        for values in runs
        for epoch, loss, updates, seconds in values.pop("curve", ())
    ]
    points += [
        (values["run_id"], f"by_update/{metric}", update, loss, None, update, None, None)
        for values in runs
        for update, loss in values.pop("by_update", ())
    ]
    frame = typed(pd.DataFrame(runs, columns=None if runs else NOTHING))
    params = tuple(key for key in dict.fromkeys(texts) if key not in told)
    return Sweep(frame, params, pd.DataFrame(points, columns=AXES), **more)
