"""How much better is a search than a grid that trains for the same number of epochs?

    python -m experiments.search_value kc_house_data.csv --results search_value.json

For each of 20 seeds, a grid, random points, Sobol points, TPE and halving train for 270 epochs in all, on King County
(eight features, a linear model and MLPs) and on handwritten digits (MLPs). The tables show by how much the best
`val/loss` of each method exceeds the best of all methods. A second call continues where the first one ended. This takes
about five minutes on one core.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.config import DataConfig, RuntimeConfig, Sampler, Scaling, SearchConfig
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.runtime.imports import import_tensorflow
from harness.sweep.executor import LanePlan, ScanPlan, choose_executor
from harness.sweep.proposer import Result
from harness.sweep.search.search import Search
from harness.sweep.search.space import Choices, Interval, Space
from harness.training.events import Ending, EpochEnd, Stopped
from harness.training.halving import BracketPlan
from harness.training.losses import LossPlan

EPOCHS, BUDGET = 9, 270
TOGETHER = 4
"""Number of seeds that train in the same scans."""

RATE = Interval("learning_rate", 1e-4, 1.0, is_log=True)
UNITS = ("[8]", "[16]", "[16,16]")
FEATURES = ["bedrooms", "bathrooms", "sqft_living", "sqft_lot", "floors", "view", "grade", "lat"]

Trial = tuple[str, ...]
"""A trial as overrides."""


@dataclass(frozen=True)
class Task:
    """A search problem: the data, and the searched keys."""

    name: str
    table: Table
    loss: str
    space: Space

    def lane(self, trial: Trial, seed: int) -> LanePlan:
        """Return the plan of a trial."""
        values = dict(word.split("=", 1) for word in trial)
        model = {"_target_": "harness.models.linear", "init": "random"}
        if units := values.get("model.units"):
            model = {"_target_": "harness.models.mlp", "units": json.loads(units), "activation": "relu"}
        chunk, rate = int(values["chunksize"]), float(values["learning_rate"])
        return LanePlan(chunk, model, {"name": "adam"}, LossPlan(self.loss), seed, rate, [EPOCHS])


def train(task: Task, trials: Sequence[tuple[int, Trial]], bracket: BracketPlan | None = None) -> list[float]:
    """Train trials with these seeds in one scan; return the last val/loss of each, infinite if it did not finish."""
    scaler = Scaler.of(task.table, Scaling.standard, scale_target=task.loss == "mse")
    plan = ScanPlan(
        table=str(task.table.folder),
        mean=scaler.mean.tolist(),
        std=scaler.std.tolist(),
        lanes=[task.lane(trial, seed) for seed, trial in trials],
        order_seed=0,
        scaling="standard",
        runtime=RuntimeConfig(),
        curve_points=3,
        early=False,
        bracket=bracket,
    )
    last, found = np.full(len(trials), np.inf), np.full(len(trials), np.inf)
    for event in choose_executor(plan.runtime, measured=False).prepare(plan).run():
        if isinstance(event, EpochEnd):
            last[event.lane] = event.metrics.get("val/loss", np.inf)
        elif isinstance(event, Stopped) and event.ending is Ending.reached:
            found[event.lane] = last[event.lane]
    return found.tolist()


def grid(task: Task) -> list[Trial]:
    """Return all combinations of the choices and of as many learning rates as the budget allows."""
    choices = [axis.values for axis in task.space.axes if isinstance(axis, Choices)]
    rates = BUDGET // EPOCHS // int(np.prod([len(values) for values in choices]))
    found = [(RATE.value(step / (rates - 1)),) for step in range(rates)]
    for values in choices:
        found = [(*trial, value) for trial in found for value in values]
    return [tuple(task.space.words(_named(task.space, values))) for values in found]


def random(task: Task, seed: int) -> list[Trial]:
    """Return independent random points."""
    shares = np.random.default_rng(seed).random((BUDGET // EPOCHS, len(task.space.axes)))
    points = [[axis.value(x) for axis, x in zip(task.space.axes, row, strict=True)] for row in shares]
    return [tuple(task.space.words(_named(task.space, values))) for values in points]


def _named(space: Space, values: Sequence[str]) -> dict[str, str]:
    return {axis.key: value for axis, value in zip(space.axes, values, strict=True)}


def searched(task: Task, seeds: Sequence[int], sampler: Sampler) -> list[list[float]]:
    """Return the results of a search for each seed; the trials of all searches train together."""
    settings = [SearchConfig(name=sampler, lane_epochs=BUDGET, seed=seed, confirm=None) for seed in seeds]
    searches = [Search(task.space, each, EPOCHS, seed) for each, seed in zip(settings, seeds, strict=True)]
    results: list[list[Result]] = [[] for _ in seeds]
    while any(jobs := [search.propose(found) for search, found in zip(searches, results, strict=True)]):
        trials = [(seed, tuple(job)) for seed, some in zip(seeds, jobs, strict=True) for job in some]
        starts = np.cumsum([0, *map(len, jobs)])
        values = train(task, trials, _joined([search.bracket for search in searches], starts.tolist()))
        for number, found in enumerate(results):
            some = range(starts[number], starts[number + 1])
            found += [Result(trials[index][1], values[index]) for index in some]
    return [[result.objective for result in found] for found in results]


def _joined(brackets: Sequence, starts: Sequence[int]) -> BracketPlan | None:
    if not all(brackets):
        return None
    groups = [
        [start + position for position in group]
        for bracket, start in zip(brackets, starts, strict=False)
        for group in bracket.groups
    ]
    lanes = list(range(sum(map(len, groups))))
    return BracketPlan("val/loss", brackets[0].eta, list(brackets[0].rungs), groups, lanes)


def fixed(task: Task, propose: Callable[[int], list[Trial]], seeds: Sequence[int]) -> list[list[float]]:
    """Return, for each seed, the results of trials that do not depend on earlier results; all train together."""
    trials = [(seed, trial) for seed in seeds for trial in propose(seed)]
    return np.reshape(train(task, trials), (len(seeds), -1)).tolist()


WAYS: dict[str, Callable[[Task, Sequence[int]], list[list[float]]]] = {
    "grid": lambda task, seeds: fixed(task, lambda _: grid(task), seeds),
    "random": lambda task, seeds: fixed(task, lambda seed: random(task, seed), seeds),
    **{name.value: functools.partial(searched, sampler=name) for name in Sampler},
}


def tasks(path: Path, folder: Path) -> list[Task]:
    """Return all tasks; `folder` holds their tables."""
    from sklearn.datasets import load_digits

    digits = load_digits(as_frame=True).frame
    digits.to_csv(folder / "digits.csv", index=False)
    houses = open_table(DataConfig(FEATURES, "price", str(path), log_columns=["price"]), folder)
    names = [name for name in digits if name != "target"]
    data = DataConfig(names, "target", str(folder / "digits.csv"), categorical=["target"], log_columns=[])
    some = open_table(data, folder)
    chunks, units = Choices("chunksize", ("100", "1000")), Choices("model.units", UNITS)
    classes = "sparse_categorical_crossentropy"
    return [
        Task("King County, linear", houses, "mse", Space((RATE, chunks))),
        Task("King County, MLP", houses, "mse", Space((RATE, units, chunks))),
        Task("digits, MLP", some, classes, Space((RATE, units, Choices("chunksize", ("30", "100"))))),
    ]


def main() -> None:
    """Train everything that is not yet in the results, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", type=Path, help="the King County file")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--results", type=Path, default=Path("search_value.json"))
    options = parser.parse_args()
    import_tensorflow()
    known: dict[str, dict[str, list[list[float]]]] = {}
    if options.results.exists():
        known = json.loads(options.results.read_text())
    with tempfile.TemporaryDirectory() as folder:
        every = tasks(options.path, Path(folder))
        for last, task in itertools.product(range(TOGETHER, options.seeds + TOGETHER, TOGETHER), every):
            for way, run in WAYS.items():
                found = known.setdefault(task.name, {}).setdefault(way, [])
                if seeds := range(len(found), min(last, options.seeds)):
                    found += run(task, seeds)
                    options.results.write_text(json.dumps(known))
                    print(f"{task.name}: {way}, {len(found)} seeds", flush=True)
    for name, found in known.items():
        seeds = min(map(len, found.values()))
        some = {way: results[:seeds] for way, results in found.items()}
        print(f"\n{name}, {seeds} seeds\n\n{table(some)}\n\n{noise(some['grid'])}")


def table(found: dict[str, list[list[float]]]) -> str:
    """Return the excess over the best known val/loss by search method, as Markdown."""
    best = {way: np.array([min(values) for values in results]) for way, results in found.items()}
    lowest = min(values.min() for values in best.values())
    rows = []
    for way, values in best.items():
        low, middle, high = np.percentile((values / lowest - 1) * 100, [25, 50, 75])
        rows.append([way, str(len(found[way][0])), f"{middle:.1f}%", f"{low:.1f} to {high:.1f}%"])
    cells = [["search", "trials", "median excess", "quartiles"], ["---", "---:", "---:", "---:"], *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def noise(results: list[list[float]]) -> str:
    """Return the spread over seeds of the grid's best setting on average."""
    values = np.array(results)
    best = values[:, values.mean(axis=0).argmin()]
    return f"Seeds alone change the grid's best setting by {best.std(ddof=1) / best.mean() * 100:.1f}%."


if __name__ == "__main__":
    main()
