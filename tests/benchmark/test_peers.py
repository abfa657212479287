"""Each installed peer computes the reference's weights on a tiny file."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.benchmark.cases import NUMBERS
from experiments.benchmark.peers import reference, search
from experiments.benchmark.process import PEERS, missing, run_peer
from experiments.benchmark.search import search_task
from experiments.benchmark.task import COLUMNS, FULL, Fit, Outcome, Task
from harness.data import synthetic_houses

ROWS = 2030


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Return a task with its own file, whose last chunk is shorter."""
    path = tmp_path_factory.mktemp("benchmark") / "houses.csv"
    synthetic_houses.generate(path, ROWS)
    return scaled(Task(ROWS, stops=(3,), path=str(path)))


def scaled(task: Task) -> Task:
    """Return a task with its columns' means and standard deviations."""
    values = pd.read_csv(task.path)[list(task.columns)].to_numpy(np.float64)
    return replace(task, mean=tuple(values.mean(axis=0).tolist()), std=tuple(values.std(axis=0).tolist()))


@pytest.fixture(scope="module")
def perceptrons(task: Task) -> Task:
    """Return a sweep of two multilayer perceptrons on all columns."""
    return scaled(replace(task, rates=(0.01, 0.02), columns=NUMBERS, stops=(15,), units=(64, 64)))


def run_here(name: str, task: Task) -> Outcome:
    """Call a peer's function in this process."""
    module, _, function = PEERS[name].function.partition(":")
    return getattr(importlib.import_module(f"experiments.benchmark.peers.{module}"), function)(task)


def test_reference_is_adam_over_pandas_chunks(task: Task) -> None:
    weights, first, second, step = np.array([0.1, 0.1]), np.zeros(2), np.zeros(2), 0
    for _ in range(3):
        for frame in pd.read_csv(task.path, chunksize=100):
            x, y = ((frame[name] - task.mean[i]) / task.std[i] for i, name in enumerate(COLUMNS))
            error = weights[0] + weights[1] * x - y
            gradient = np.array([2 * error.mean(), 2 * (error * x).mean()])
            step += 1
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            corrected = first / (1 - 0.9**step), second / (1 - 0.999**step)
            weights = weights - 0.01 * corrected[0] / (np.sqrt(corrected[1]) + 1e-7 / np.sqrt(1 - 0.999**step))
    _, fit = reference.train(task).fits
    assert fit.weights == pytest.approx(weights, rel=1e-6)


@pytest.mark.parametrize("chunk", [100, FULL])
@pytest.mark.parametrize("name", ["loop", "compiled", "keras"])
def test_peers_with_keras_reach_the_reference(name: str, chunk: int | str, task: Task) -> None:
    task = replace(task, chunks=(chunk,))
    outcome = run_here(name, task)
    assert reference.fault(name, task, outcome, reference.train(task)) == ""
    assert len(outcome.laps) == 2  # The extra time of the first epoch is compilation.


@pytest.mark.parametrize("name", ["sklearn", "vw", "jax", "jax_mlflow"])
def test_other_peers_reach_the_reference_in_their_own_process(name: str, task: Task) -> None:
    if missing(name):
        pytest.skip(missing(name))
    task = replace(task, stops=(20,))
    if name.startswith("jax"):
        task = replace(task, chunks=(100, 1000, FULL), rates=(0.01, 0.1), stops=(1, 3))
    (outcome,) = run_peer(name, [task])
    assert reference.fault(name, task, outcome, reference.train(task)) == ""
    assert outcome.startup > 0
    assert outcome.peak_mb > 10


@pytest.mark.parametrize(("name", "fits"), [("jax", 2), ("keras", 1)])
def test_perceptrons_have_a_smaller_loss_than_the_linear_model(name: str, fits: int, perceptrons: Task) -> None:
    if missing(name):
        pytest.skip(missing(name))
    outcome = run_here(name, perceptrons)
    assert reference.fault(name, perceptrons, outcome, reference.train(perceptrons)) == ""
    assert len(outcome.fits) == fits


@pytest.mark.slow
def test_jax_slices_long_chunks(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("jax", "polars"):
        pytest.importorskip(package)
    from experiments.benchmark.peers import jax_scan

    monkeypatch.setattr(jax_scan, "SLICE_ROWS", 64)
    task = replace(task, chunks=(100, 128, FULL), rates=(0.01, 0.1))
    assert reference.fault("jax", task, jax_scan.train(task), reference.train(task)) == ""


@pytest.mark.slow
def test_the_harness_reaches_the_reference_by_its_command(task: Task, perceptrons: Task, tmp_path: Path) -> None:
    sweep = replace(task, chunks=(100, FULL), rates=(0.01, 0.1), stops=(1, 3), folder=str(tmp_path))
    single = replace(sweep, chunks=(100,), rates=(0.01,), stops=(3,))
    (first,), (second,) = run_peer("harness", [sweep]), run_peer("harness", [single])
    assert reference.fault("harness", sweep, first, reference.train(sweep)) == ""
    assert reference.fault("harness", single, second, reference.train(single)) == ""
    (third,) = run_peer("harness", [replace(perceptrons, folder=str(tmp_path))])
    assert reference.fault("harness", perceptrons, third, reference.train(perceptrons)) == ""
    assert len(third.fits) == 2
    assert second.compile > 0
    assert first.figures["lanes"] >= 4
    assert len(first.epochs) == len(second.epochs) == 3


def test_wrong_results_are_found(task: Task) -> None:
    known = reference.train(task)
    right = known.fits[-1]
    bent = Outcome(ROWS, [], [right._replace(weights=[right.weights[0] + 0.01, right.weights[1]])])
    assert reference.fault("loop", task, Outcome(ROWS, [], [right]), known) == ""
    assert reference.fault("loop", task, bent, known).endswith("a weight differs from the reference by 0.01")
    assert "differs" in reference.fault("sklearn", task, Outcome(ROWS, [], [Fit(100, 0.0, 3, [3.0, 0.0])]), known)
    assert "differs" in reference.fault("loop", task, Outcome(ROWS, [], [right._replace(weights=[np.nan, 0.1])]), known)
    assert reference.fault("jax", task, Outcome(ROWS, []), known).endswith("results are missing")
    network = Outcome(ROWS, [], [Fit(100, 0.01, 3, [], 0.9)])
    assert "a linear model has" in reference.fault("keras", replace(task, units=(2,)), network, known)


@pytest.mark.slow
def test_searches_are_measured(task: Task, tmp_path: Path) -> None:
    found = scaled(replace(search_task(0, 6), rows=ROWS, path=task.path, folder=str(tmp_path)))
    (outcome,) = run_peer("search", [found])
    figures = outcome.figures
    assert figures["best"] <= figures["best_halving"]
    assert figures["trials"] == 6
    if not missing("search_optuna"):
        assert search.with_optuna(replace(found, rates=(0.1,) * 2)).figures["trials"] == 2
