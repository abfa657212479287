"""Compares searches for a learning rate: with and without halving, and with Optuna and Keras Tuner."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from tempfile import TemporaryDirectory

from experiments.benchmark.cases import NUMBERS
from experiments.benchmark.goals import Goal
from experiments.benchmark.process import PEERS, missing, run_peer
from experiments.benchmark.task import Task
from experiments.benchmark.timing import Part, span

EPOCHS = 9
UNITS = (16, 16)
MOST_PROPOSALS = 256


def search_task(rows: int, trials: int) -> Task:
    """Return the search of a perceptron's learning rate, on some of the rows of the benchmark."""
    return Task(max(rows // 100, 20_000), (1000,), (0.01,) * trials, (EPOCHS,), NUMBERS, UNITS)


def search_parts(task: Task, say: Callable[[str], None]) -> dict[str, Part]:
    """Measure all searches of a task with its file; searches with missing packages are left out."""
    trials = len(task.rates)
    say(f"searches of {trials} trials, {task.rows:,} rows")
    with TemporaryDirectory() as folder:
        (outcome,) = run_peer("search", [replace(task, folder=folder)])
    figures = outcome.figures
    what = f"search of {trials} trials, {EPOCHS} epochs"
    found = {
        "search/all": Part(f"{what}, all to completion", span([figures["all"]])),
        "search/halving": Part(f"{what}, halving", span([figures["halving"]])),
        "search/all_training": Part(f"{what}, all to completion, training", span([figures["all_training"]])),
        "search/halving_training": Part(f"{what}, halving, training", span([figures["halving_training"]])),
        "search/best": Part("best loss, all to completion", span([figures["best"]]), ""),
        "search/best_halving": Part("best loss, halving", span([figures["best_halving"]]), ""),
        "search/proposals": Part(
            "256 proposals, relative to training as many trials",
            span([100 * figures["proposals"] / figures["all"] * trials / MOST_PROPOSALS]),
            "%",
        ),
        "search/harness": Part("trials per minute, harness", span([60 * trials / figures["all"]]), ""),
        "search/pruning": Part("trials per minute, harness, halving", span([60 * trials / figures["halving"]]), ""),
    }
    for name in ("search_optuna", "search_keras_tuner"):
        if missing(name):
            say(missing(name))
            continue
        (outcome,) = run_peer(name, [task])
        figures, label = outcome.figures, PEERS[name].label
        rate = 60 * figures["trials"] / figures["seconds"]
        found[f"search/{name}"] = Part(f"trials per minute, {label}", span([rate]), "")
        found[f"search/{name}/best"] = Part(f"best loss, {label}", span([figures["best"]]), "")
    return found


def search_goals(parts: Mapping[str, Part]) -> list[Goal]:
    """Return the goals of searches."""
    found = {name.removeprefix("search/"): part.value.mid for name, part in parts.items()}

    def quotient(above: str, below: str) -> float | None:
        return found[above] / found[below] if above in found and below in found else None

    return [
        Goal(
            "halving, training time relative to training all trials to completion",
            0.45,
            quotient("halving_training", "all_training"),
            at_least=False,
        ),
        Goal("256 proposals, % of the time of training as many trials", 5, found.get("proposals"), at_least=False),
        Goal("trials per minute, relative to Optuna with Keras fit", 20, quotient("harness", "search_optuna")),
        Goal(
            "best loss, relative to Optuna with Keras fit", 1.0, quotient("best", "search_optuna/best"), at_least=False
        ),
        Goal(
            "trials per minute with halving, relative to Keras Tuner's Hyperband",
            20,
            quotient("pruning", "search_keras_tuner"),
        ),
    ]
