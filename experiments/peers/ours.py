"""The harness itself, by its command, as a user would."""

from __future__ import annotations

import contextlib
import gc
import math
import sys
import time
from pathlib import Path

from harness.runtime.imports import import_tensorflow
from harness.runtime.memory import GC_THRESHOLDS, freeze_gc

gc.set_threshold(*GC_THRESHOLDS)  # As the command does.
import_tensorflow()
# A command imports some of these when it is about to use them; here, too, they count as start-up.
import mlflow.tensorflow  # noqa: E402, F401
import tensorflow as tf  # noqa: E402

from experiments.peers.task import FULL, Fit, Outcome, Task  # noqa: E402
from harness.analysis import figures  # noqa: E402, F401
from harness.cli import train as command  # noqa: E402
from harness.sweep import runner  # noqa: E402, F401
from harness.tracking.reader import RunReader  # noqa: E402
from harness.tracking.tracker import Tracker  # noqa: E402
from harness.tracking.uri import tracking_uri  # noqa: E402
from harness.training import trainer  # noqa: E402

EXPERIMENT = "bench"

freeze_gc()  # As the command does, which imports at another time.


def train(task: Task) -> Outcome:
    """Train all configurations by one command; the store's first contact counts as start-up."""
    folder = Path(task.folder)
    with contextlib.chdir(folder):
        start = time.perf_counter()
        Tracker(tracking_uri(), EXPERIMENT).close()
        contact = time.perf_counter() - start
        clocks = _listen()
        start = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            runs = command.run(words(task))
        seconds = time.perf_counter() - start
        if any(run.status != "FINISHED" for run in runs):
            raise RuntimeError(f"a run failed: {[run.reason for run in runs if run.reason][:3]}")
        ids = list(dict.fromkeys(run.run_id for run in runs))
        fits = _fits(task, ids)
    compiling = sum(clock.compile for clock in clocks)
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return Outcome(
        task.rows,
        startup=contact,
        compile=compiling,
        laps=[seconds - compiling],
        lap_epochs=task.passes,
        fits=fits,
        device=f"GPU ({names[0]})" if names and task.device != "cpu" else "CPU",
    )


def words(task: Task) -> list[str]:
    """Return the command's words."""
    axes = {"chunksize": task.chunks, "learning_rate": task.rates, "epochs": task.stops}
    model = ["model=mlp", f"model.units=[{','.join(map(str, task.units))}]"] if task.units else []
    return [
        *(["-m"] if task.configurations > 1 else []),
        "data=csv",
        f"data.path={Path(task.path).absolute()}",
        f"data.features=[{','.join(task.features)}]",
        f"data.target={task.target}",
        "data.holdout=0",
        *(f"{key}={','.join(map(str, values))}" for key, values in axes.items()),
        *model,
        f"tracking.experiment={EXPERIMENT}",
        "runtime.rerun=true",
        f"runtime.device={task.device}",
    ]


def _listen() -> list[trainer.Clocks]:
    """Have all clocks that scans start from now on in a list; without a summary run nothing else keeps them."""
    clocks: list[trainer.Clocks] = []

    class Heard(trainer.Clocks):
        def __init__(self) -> None:
            super().__init__()
            clocks.append(self)

    trainer.Clocks = Heard
    return clocks


def _fits(task: Task, ids: list[str]) -> list[Fit]:
    """Return what is on record, for scaled values."""
    found = RunReader(tracking_uri()).load(ids, metrics=()).runs
    fits = []
    *mean, target_mean = task.mean
    *std, target_std = task.std
    for run in found.to_dict("records"):
        chunk = FULL if run["sample"] == "full" else int(run["chunksize"])
        weights = []
        if not task.units:
            names = ["slope"] if len(mean) == 1 else [f"weight/{name}" for name in task.features]
            slopes = [run[name] for name in names]
            level = run["intercept"] + math.fsum(slope * value for slope, value in zip(slopes, mean, strict=True))
            slopes = [slope * value / target_std for slope, value in zip(slopes, std, strict=True)]
            weights = [(level - target_mean) / target_std, *slopes]
        fits.append(Fit(chunk, float(run["learning_rate"]), int(run["epochs"]), weights, run["train/loss"]))
    return fits
