"""Full sample against batch, on curves checked by hand."""

from __future__ import annotations

import pytest
from scipy.stats import ttest_rel

from harness.analysis.comparison import NO_COMMON_UPDATES, SHARED_SCAN, Comparison, compare_full_to_batch
from harness.analysis.sentences import verdict
from harness.analysis.tables import ranked
from harness.analysis.time_to_target import TimeToTarget, times_to_target
from tests.sweeps import run, sweep_of

# An update an epoch, and four: the fourth epoch of the full sample is where a batch run's first ends.
FULL = run("full", [0.9, 0.8, 0.7, 0.6, 0.5])
BATCH = run(250, [0.65, 0.4, 0.45, 0.47, 0.52], seconds=2.0)


def by_axis(*rows: dict) -> dict[str, Comparison]:
    return {each.axis: each for each in compare_full_to_batch(sweep_of(*rows))}


def test_each_axis_compares_at_the_last_point_that_both_have() -> None:
    found = by_axis(FULL, BATCH)
    values = {axis: (each.at, each.full, each.batch, each.better) for axis, each in found.items()}
    assert values == {
        "epochs": (5, 0.5, 0.52, "full"),
        "rows": (5000, 0.5, 0.52, "full"),
        "updates": (4, 0.6, 0.65, "full"),
        "time": (5, 0.5, 0.4, "batch"),  # Five seconds: five epochs of one, two of the other.
    }
    assert {each.chunksize for each in found.values()} == {250}
    assert (found["epochs"].full_updates, found["epochs"].batch_updates) == (5, 20)
    assert (found["epochs"].full_memory_mb, found["epochs"].batch_memory_mb) == (0.008, 0.002)
    assert found["epochs"].setting == {"learning_rate": 0.1, "epochs": 5}


def test_the_best_of_several_chunksizes_is_named() -> None:
    found = by_axis(FULL, BATCH, run(500, [0.9, 0.8, 0.7, 0.6, 0.45]), run(100, [0.1] * 5, status="KILLED"))
    assert (found["epochs"].chunksize, found["epochs"].batch, found["epochs"].better) == (500, 0.45, "batch")
    # At four updates one has 0.65, the other 0.8.
    assert (found["updates"].chunksize, found["updates"].at, found["updates"].batch) == (250, 4, 0.65)


def test_each_setting_is_compared_in_order() -> None:
    rates = ["0.003", "0.03", "1"]
    rows = [run(chunk, [0.5], rate=rate) for rate in reversed(rates) for chunk in ("full", 250)]
    rows += [run("full", [0.5], rate="2"), run(250, [0.5], rate="3")]  # These have no counterpart.
    found = compare_full_to_batch(sweep_of(*rows))
    assert [each.setting["learning_rate"] for each in found if each.axis == "epochs"] == [float(rate) for rate in rates]
    assert {each.better for each in found if each.axis == "epochs"} == {"equal"}


def test_shared_times_are_not_compared() -> None:
    found = by_axis(FULL | {"time/shared_by": 2.0}, BATCH | {"time/shared_by": 2.0})
    assert (found["time"].better, found["time"].reason, found["time"].batch) == ("", SHARED_SCAN, None)
    assert found["epochs"].better == "full"
    sentences = verdict(list(found.values()))
    assert sentences[-1].startswith("Training times cannot be compared: the runs shared a scan")
    assert "hydra/launcher=basic" in sentences[-1]


def test_runs_without_common_updates_get_a_reason() -> None:
    found = by_axis(run("full", [0.9, 0.8]), run(250, [0.5, 0.4]))
    assert (found["updates"].better, found["updates"].reason) == ("", NO_COMMON_UPDATES)
    assert "a batch run's first epoch has more updates" in verdict(list(found.values()))[1]


def test_seeds_are_paired() -> None:
    fulls, batches = [0.50, 0.54, 0.47, 0.52], [0.45, 0.50, 0.46, 0.44]
    rows = [run("full", [loss], seed=str(seed)) for seed, loss in enumerate(fulls)]
    rows += [run(250, [loss], seed=str(seed)) for seed, loss in enumerate(batches)]
    rows += [run("full", [9.0], seed="7")]  # No batch run has this seed.
    found = by_axis(*rows)["epochs"]
    assert (found.seeds, found.better) == (4, "batch")
    assert found.full == pytest.approx(0.5075)
    assert found.batch == pytest.approx(0.4625)
    assert found.full_std == pytest.approx(0.0298607881)
    assert found.difference == pytest.approx(-0.045)
    expected = ttest_rel(batches, fulls).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("difference", [0.0, 0.1])
def test_equal_differences_have_a_zero_width_interval(difference: float) -> None:
    losses = [0.3, 0.5, 0.7]
    rows = [run("full", [loss], seed=str(seed)) for seed, loss in enumerate(losses)]
    rows += [run(250, [loss + difference], seed=str(seed)) for seed, loss in enumerate(losses)]
    assert by_axis(*rows)["epochs"].interval == pytest.approx((difference, difference))


def test_the_larger_value_wins_if_larger_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """The direction comes from `harness.config.metrics` alone."""
    monkeypatch.setattr("harness.analysis.objective.sign", lambda metric: -1)
    sweep = sweep_of(run("full", [0.5]), run(250, [0.6]), run(500, [0.7]))
    (found,) = (each for each in compare_full_to_batch(sweep) if each.axis == "epochs")
    assert (found.better, found.chunksize) == ("batch", 500)
    assert [row["chunksize"] for row in ranked(sweep.runs)][:2] == [500, 250]
    assert [each.reached for each in times_to_target(sweep, 0.6)] == [1, 1, 0]


def test_one_seed_has_no_interval() -> None:
    found = by_axis(FULL, BATCH)["epochs"]
    assert (found.seeds, found.full_std, found.batch_std, found.interval) == (1, None, None, None)


def test_a_target_is_reached_at_the_first_epoch_that_meets_it() -> None:
    found = times_to_target(sweep_of(FULL, BATCH, run(500, [0.9, 0.6])), 0.5)
    assert found == [
        TimeToTarget(250, {"learning_rate": 0.1}, 1, 1, epochs=2, updates=8, seconds=4, shared_by=1),
        TimeToTarget(None, {"learning_rate": 0.1}, 1, 1, epochs=5, updates=5, seconds=5, shared_by=1),
        TimeToTarget(500, {"learning_rate": 0.1}, 0, 1, epochs=None, updates=None, seconds=None, shared_by=1),
    ]


def test_the_longest_run_of_each_seed_counts() -> None:
    rows = [run(250, [0.9]), run(250, [0.9, 0.4]), run(250, [0.9, 0.8, 0.4], seed="1"), run(250, [0.9, 0.8], seed="2")]
    (found,) = times_to_target(sweep_of(*rows), 0.5)
    assert (found.reached, found.seeds, found.epochs, found.updates) == (2, 3, 2.5, 10)


def test_without_a_holdout_the_training_loss_is_compared() -> None:
    rows = [dict(row) for row in (FULL, BATCH)]
    for row in rows:
        row["train/loss"] = row.pop("val/loss")
    found = {each.axis: each.better for each in compare_full_to_batch(sweep_of(*rows, metric="train/loss"))}
    assert found["epochs"] == "full"


def test_nothing_to_compare() -> None:
    assert compare_full_to_batch(sweep_of(FULL)) == []
    assert compare_full_to_batch(sweep_of(BATCH)) == []
    assert compare_full_to_batch(sweep_of()) == []
    assert times_to_target(sweep_of(), 0.5) == []
