"""The harness, driven by the words of `harness train`."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import math
import pkgutil
import sys
import time
from pathlib import Path

import harness
from experiments.benchmark.task import FULL, TARGET, Fit, Outcome, Task
from harness.cli import train as command
from harness.runtime.imports import import_tensorflow

import_tensorflow()
# The command imports these when it needs them; all imports count as start-up here.
for _module in pkgutil.walk_packages(harness.__path__, "harness."):
    importlib.import_module(_module.name)

import mlflow.tensorflow  # noqa: E402, F401
import tensorflow as tf  # noqa: E402

from harness.tracking.tracker import Tracker  # noqa: E402
from harness.tracking.uri import tracking_uri  # noqa: E402
from harness.training import trainer  # noqa: E402

EXPERIMENT = "bench"


def train(task: Task) -> Outcome:
    """Train all configurations with one command. Creating the store counts as start-up."""
    with contextlib.chdir(task.folder):
        start = time.perf_counter()
        Tracker(tracking_uri(), EXPERIMENT).close()
        startup = time.perf_counter() - start
        clocks = _collect_clocks()
        start = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            runs = command.run(words(task))
        seconds = time.perf_counter() - start
        if reasons := [run.reason for run in runs if run.status != "FINISHED"]:
            raise RuntimeError(f"a run failed: {reasons[0]}")
        sweep = harness.load_sweep(runs[0].run_id if len(runs) == 1 else None, metrics=["train/loss"])
    spent = {name: sum(getattr(clock, name) for clock in clocks) for name in ("compile", "read", "train", "evaluate")}
    times = [0.0, *sweep.curves.groupby("step")["seconds"].max()]
    return Outcome(
        task.rows,
        startup=startup,
        compile=spent["compile"],
        laps=[seconds - spent["compile"]],
        lap_epochs=task.passes,
        fits=[_fit(task, run) for run in sweep.runs.to_dict("records")],
        figures={"lanes": float(sweep.runs["time/shared_by"].max()), "beside": seconds - sum(spent.values())} | spent,
        epochs=[after - before for before, after in itertools.pairwise(times)],
        device="GPU" if tf.config.list_physical_devices("GPU") else "CPU",
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
        f"data.target={TARGET}",
        "data.holdout=0",
        *(f"{key}={','.join(map(str, values))}" for key, values in axes.items()),
        *model,
        f"tracking.experiment={EXPERIMENT}",
        "runtime.rerun=true",
        *task.options,
    ]


def _collect_clocks() -> list[trainer.Clocks]:
    """Collect the clocks of all scans from now on: a single run has no summary run that records them."""
    clocks: list[trainer.Clocks] = []

    class Collected(trainer.Clocks):
        def __init__(self) -> None:
            super().__init__()
            clocks.append(self)

    trainer.Clocks = Collected
    return clocks


def _fit(task: Task, run: dict) -> Fit:
    """Return a recorded run's result, with the weights for scaled values."""
    *mean, target_mean = task.mean
    *std, target_std = task.std
    weights = []
    if not task.units:
        names = ["slope"] if len(mean) == 1 else [f"weight/{name}" for name in task.features]
        slopes = [run[name] for name in names]
        level = run["intercept"] + math.fsum(slope * value for slope, value in zip(slopes, mean, strict=True))
        slopes = [slope * value / target_std for slope, value in zip(slopes, std, strict=True)]
        weights = [(level - target_mean) / target_std, *slopes]
    chunk = FULL if run["sample"] == "full" else int(run["chunksize"])
    return Fit(chunk, float(run["learning_rate"]), int(run["epochs"]), weights, run["train/loss"])
