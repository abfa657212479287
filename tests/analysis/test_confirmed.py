"""A search's best settings show the means of the runs that confirm them, without the chosen trial."""

from __future__ import annotations

from typing import Any

import pytest

from harness.analysis.comparison import compare_full_to_batch
from harness.analysis.replicates import averaged, best_of_each
from harness.analysis.sentences import best_runs, conclusion, tuned
from harness.analysis.tables import run_columns
from harness.analysis.time_to_target import times_to_target
from harness.tracking.frames import Sweep
from harness.tracking.ranking import objective, ranked
from harness.tracking.run_tags import EFFORT, TRIAL_SEED
from tests.sweeps import run, sweep_of

TAGS = {TRIAL_SEED: "0", EFFORT: "halving, 3 trials for each of 2 choices of chunksize, at most 18 epochs in all"}


@pytest.fixture
def search() -> Sweep:
    pruned: dict[str, Any] = {"status": "KILLED", "pruned_at": 1}
    rows: list[dict[str, Any]] = []
    for size, trial, others in (("full", 0.50, (0.60, 0.62)), (250, 0.30, (0.40, 0.44))):
        rows += [run(size, [trial], rate="0.1"), run(size, [0.9], rate="0.3", **pruned)]
        rows += [run(size, [loss], rate="0.1", seed=str(seed)) for seed, loss in enumerate(others, 1)]
    rows += [run(250, [0.35], rate="0.2")]  # A trial that was not confirmed.
    return sweep_of(*rows, tags=TAGS)


def test_means_are_those_of_other_seeds(search: Sweep) -> None:
    means, found = averaged(search), objective(search.runs)
    runs = ranked(means.runs)
    assert {
        (row["sample"], row["learning_rate"]): (row["val/loss"], row.get("trial")) for row in runs if row["trial"] > 0
    } == {
        ("batch", 0.1): (pytest.approx(0.42), 0.30),
        ("full", 0.1): (pytest.approx(0.61), 0.50),
    }
    assert ["as\ntrial", "", "0.3", "0.5", "", ""] in run_columns(means, runs)
    batch, full, explained, noise = best_runs(runs, found)
    assert "val/loss 0.42 (mean of 2 runs, 0.3 as a trial) after" in batch
    assert "val/loss 0.61 (mean of 2 runs, 0.5 as a trial) after" in full
    assert explained.startswith("The best settings were chosen by the val/loss of one trial each")
    assert noise.startswith("The best batch setting is better by 0.19 on average; the standard error of this")
    assert noise.endswith("over seeds is 0.02236.")
    assert "val/loss 0.42" in conclusion(runs, found)
    assert tuned(search.tags) == [f"Tuned by {TAGS[EFFORT]}. Pruned runs are not compared."]
    assert list(best_of_each(search, lambda row: row["sample"])["val/loss"]) == [0.40, 0.60]
    assert times_to_target(search, 0.41)[0].seeds == 2


def test_pairs_leave_out_the_trials(search: Sweep) -> None:
    (found,) = (each for each in compare_full_to_batch(search) if each.axis == "epochs" and each.better)
    assert (found.seeds, found.full, found.batch) == (2, pytest.approx(0.61), pytest.approx(0.42))


def test_without_confirmation_all_trials_count_as_tried() -> None:
    pruned: dict[str, Any] = {"status": "KILLED", "pruned_at": 1}
    sweep = sweep_of(
        *(
            run(size, [0.5], rate=str(rate), **({} if rate == 1 else pruned))
            for size in ("full", 250)
            for rate in (1, 2, 3)
        )
    )
    *_, sentence = best_runs(ranked(sweep.runs), objective(sweep.runs))
    assert sentence.startswith("The best of 3 batch runs and 3 full-sample runs are chosen by the val/loss")
