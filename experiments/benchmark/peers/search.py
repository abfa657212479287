"""Searches for a learning rate: the harness with and without halving, Optuna and Keras, and Keras Tuner."""

# The stubs of Keras are stricter than the library.
# pyright: reportArgumentType=false, reportMissingImports=false
import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import harness
from experiments.benchmark.peers.harness_command import words
from experiments.benchmark.peers.reading import read
from experiments.benchmark.search import MOST_PROPOSALS
from experiments.benchmark.task import Outcome, Task
from harness.config import Sampler, SearchConfig
from harness.models import mlp
from harness.sweep.proposer import Result
from harness.sweep.search.search import Search
from harness.sweep.search.space import Interval, Space

LOW, HIGH = 1e-4, 0.1
SPACE = f"learning_rate=tag(log,interval({LOW},{HIGH}))"


def with_harness(task: Task) -> Outcome:
    """After compiling, train as many trials as the task has rates, first to completion and then with halving.

    `all` and `halving` are seconds; `all_training` and `halving_training` are the training time among these. `best` and
    `best_halving` are the losses found; `proposals` is the time for 256 proposals, by TPE if Optuna is installed.
    """
    trials = len(task.rates)
    common = ["-m", *_without_rates(task), SPACE, "search.confirm=null"]
    figures: dict[str, float] = {}
    with contextlib.chdir(task.folder), contextlib.redirect_stdout(sys.stderr):
        harness.train([*common, "search=sobol", "search.trials=2", "search.seed=1"])
        for key, sampler in (("all", "sobol"), ("halving", "halving")):
            start = time.perf_counter()
            found = harness.train([*common, f"search={sampler}", f"search.trials={trials}"])
            figures[key] = time.perf_counter() - start
            figures[f"{key}_training"] = float(found.curves["seconds"].max())
            finished = found.runs[found.runs["status"] == "FINISHED"]
            figures["best" if key == "all" else "best_halving"] = float(finished["train/loss"].min())
    start = time.perf_counter()
    _propose(task.stops[-1])
    figures["proposals"] = time.perf_counter() - start
    return Outcome(task.rows, [], figures=figures | {"trials": float(trials)})


def with_optuna(task: Task) -> Outcome:
    """Let Optuna propose each trial from the results so far, and train it to completion with Keras."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    fit, epochs = _keras(task), task.stops[-1]
    fit(HIGH, 1)  # This imports and compiles.

    def objective(trial: Any) -> float:
        return fit(trial.suggest_float("learning_rate", LOW, HIGH, log=True), epochs)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    start = time.perf_counter()
    study.optimize(objective, n_trials=len(task.rates))
    return _found(task, time.perf_counter() - start, len(task.rates), study.best_value)


def with_keras_tuner(task: Task) -> Outcome:
    """Let Keras Tuner run a bracket of Hyperband up to the task's epochs, and return its best trial's loss."""
    import keras_tuner

    x, y = (np.ascontiguousarray(part) for part in np.split(read(task), [-1], axis=1))
    size = task.size(task.chunks[0])

    def build(parameters: Any) -> keras.Model:
        return _model(task, parameters.Float("learning_rate", LOW, HIGH, sampling="log"))

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.Hyperband(
            build, "loss", max_epochs=task.stops[-1], factor=3, seed=0, directory=folder, project_name="search"
        )
        start = time.perf_counter()
        tuner.search(x, y, batch_size=size, shuffle=False, verbose=0)
        seconds = time.perf_counter() - start
        trials = tuner.oracle.get_best_trials(10**6)
    return _found(task, seconds, len(trials), float(trials[0].score))


def _propose(epochs: int) -> None:
    with contextlib.suppress(harness.errors.ConfigError):  # Without Optuna, these are only points of a Sobol sequence.
        _propose_by(Sampler.tpe, epochs)
        return
    _propose_by(Sampler.sobol, epochs)


def _propose_by(sampler: Sampler, epochs: int) -> None:
    settings = SearchConfig(name=sampler, trials=MOST_PROPOSALS, confirm=None)
    search, results = Search(Space((Interval("learning_rate", LOW, HIGH, is_log=True),)), settings, epochs, 0), []
    while jobs := search.propose(results):
        results += [Result(tuple(job), abs(math.log(float(job[0].partition("=")[2]) / 0.01))) for job in jobs]


def _without_rates(task: Task) -> list[str]:
    own = [word for word in words(task) if word != "-m" and not word.startswith("learning_rate=")]
    return [*own, "tracking.log_model=none"]


def _keras(task: Task) -> Callable[[float, int], float]:
    """Return a function that trains a new model at a rate for some epochs and returns its last loss."""
    x, y = (np.ascontiguousarray(part) for part in np.split(read(task), [-1], axis=1))
    size = task.size(task.chunks[0])

    def fit(rate: float, epochs: int) -> float:
        history = _model(task, rate).fit(x, y, size, epochs=epochs, shuffle=False, verbose=0)
        return float(history.history["loss"][-1])

    return fit


def _model(task: Task, rate: float) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = mlp(len(task.columns) - 1, units=task.units)
    steps = min(64, task.updates(task.chunks[0]))
    model.compile(keras.optimizers.Adam(rate), "mse", jit_compile=True, steps_per_execution=steps)
    return model


def _found(task: Task, seconds: float, trials: int, best: float) -> Outcome:
    return Outcome(task.rows, [seconds], figures={"trials": float(trials), "seconds": seconds, "best": best})
