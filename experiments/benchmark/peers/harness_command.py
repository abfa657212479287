"""The harness, run with the arguments of `harness train`."""

import contextlib
import gc
import importlib
import itertools
import pkgutil
import sys
import time
from typing import Any

import harness
from experiments.benchmark.task import FULL, Fit, Outcome, Task
from harness.cli import train as command
from harness.runtime.imports import import_tensorflow

gc.set_threshold(1_000_000, 20, 50)  # The command does the same.
import_tensorflow()
# The command imports these only when it needs them; here, all imports count as start-up.
for _module in pkgutil.walk_packages(harness.__path__, "harness."):
    importlib.import_module(_module.name)

import mlflow.tensorflow  # noqa: E402, F401

from harness.tracking.tracker import Tracker  # noqa: E402
from harness.tracking.uri import tracking_uri  # noqa: E402
from harness.training import trainer  # noqa: E402


def train(task: Task) -> Outcome:
    """Train all configurations with one command. Creating the store counts as start-up."""
    with contextlib.chdir(task.folder):
        start = time.perf_counter()
        Tracker(tracking_uri(), "bench").close()
        startup = time.perf_counter() - start
        clocks: list[trainer.Clocks] = []

        class Clocks(trainer.Clocks):
            """Kept in a list, since a single run has no summary run to record them."""

            def __init__(self) -> None:
                super().__init__()
                clocks.append(self)

        trainer.Clocks = Clocks
        start = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            runs = command.run(words(task))
        seconds = time.perf_counter() - start
        if reasons := [run.reason for run in runs if run.status != "FINISHED"]:
            raise RuntimeError(f"a run failed: {reasons[0]}")
        sweep = harness.load_sweep(runs[0].run_id if len(runs) == 1 else None, metrics=["train/loss"])
    spent = {name: sum(getattr(clock, name) for clock in clocks) for name in ("compile", "read", "train", "evaluate")}
    records: list[dict[str, Any]] = sweep.runs.to_dict("records")
    times = [0.0, *sorted(sweep.curves["seconds"].dropna().unique())]
    return Outcome(
        task.rows,
        [seconds - spent["compile"]],
        [_fit(task, run) for run in records],
        spent["compile"],
        lap_epochs=task.stops[-1],
        startup=startup,
        figures={"lanes": max(run["time/shared_by"] for run in records), "beside": seconds - sum(spent.values())},
        epochs=[after - before for before, after in itertools.pairwise(times)],
    )


def words(task: Task) -> list[str]:
    """Return the command's arguments."""
    *features, target = task.columns
    axes = {"chunksize": task.chunks, "learning_rate": task.rates, "epochs": task.stops}
    return [
        *(["-m"] if task.configurations > 1 else []),
        *("data=csv", f"data.path={task.path}", f"data.features=[{','.join(features)}]", f"data.target={target}"),
        *("data.holdout=0", "tracking.experiment=bench", "runtime.rerun=true"),
        *(f"{key}={','.join(map(str, values))}" for key, values in axes.items()),
        *(["model=mlp", f"model.units={list(task.units)}"] if task.units else []),
        *task.options,
    ]


def _fit(task: Task, run: dict[str, Any]) -> Fit:
    """Return a recorded run's result, with a linear model's weights for scaled values."""
    weights = []
    if not task.units:
        (mean, target_mean), (std, target_std), slope = task.mean, task.std, run["slope"]
        weights = [(run["intercept"] + slope * mean - target_mean) / target_std, slope * std / target_std]
    chunk = FULL if run["sample"] == "full" else int(run["chunksize"])
    return Fit(chunk, float(run["learning_rate"]), int(run["epochs"]), weights, run["train/loss"])
