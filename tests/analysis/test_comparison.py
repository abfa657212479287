"""Comparisons of the full sample with chunks, on curves checked by hand."""

from __future__ import annotations

import math

import pytest
from scipy.stats import ttest_rel

from harness.analysis.comparison import NO_COMMON_UPDATES, SHARED_SCAN, Comparison, compare_full_to_batch
from harness.analysis.intervals import holm_levels
from harness.analysis.replicates import averaged
from harness.analysis.sentences import verdict
from harness.analysis.time_to_target import TimeToTarget, times_to_target
from harness.tracking.ranking import ranked
from tests.sweeps import run, sweep_of

# Per epoch, the full sample makes one update and the batch run four: both have made four after epochs 4 and 1.
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
        "time": (5, 0.5, 0.4, "batch"),  # Five seconds are five epochs of one run and two of the other.
    }
    assert {each.chunksize for each in found.values()} == {250}
    assert (found["epochs"].full_updates, found["epochs"].batch_updates) == (5, 20)
    assert (found["epochs"].full_memory_mb, found["epochs"].batch_memory_mb) == (0.008, 0.002)
    assert found["epochs"].setting == {"learning_rate": 0.1, "epochs": 5}


def test_each_chunksize_is_compared_in_a_row_of_its_own() -> None:
    rows = [FULL, BATCH, run(500, [0.9, 0.8, 0.7, 0.6, 0.45]), run(100, [0.1] * 5, status="KILLED")]
    found = [each for each in compare_full_to_batch(sweep_of(*rows)) if each.axis in ("epochs", "updates")]
    assert [(each.axis, each.chunksize, each.at, each.batch, each.better) for each in found] == [
        ("epochs", 500, 5, 0.45, "batch"),
        ("updates", 500, 4, 0.8, "full"),
        ("epochs", 250, 5, 0.52, "full"),
        ("updates", 250, 4, 0.65, "full"),
    ]
    assert verdict(found)[0] == (
        "After the same number of epochs (and rows), chunks of 500 rows beat the full sample in 1 of 1 setting, "
        "and chunks of 250 rows in 0 of 1."
    )


def test_points_inside_epochs_allow_the_same_updates_and_the_same_time_alone() -> None:
    """An update of the full sample takes 3 s, a batch update 1 s; the batch run is measured after its first two."""
    full = run("full", [0.9, 0.8], shared_by=2, **{"time/alone_s": 6.0})
    batch = run(250, [0.5, 0.4], shared_by=2, **{"time/alone_s": 8.0, "by_update": [(1, 0.85), (2, 0.7), (4, 0.5)]})
    found = by_axis(full, batch)
    updates, time = found["updates"], found["time"]
    assert (updates.at, updates.full, updates.batch, updates.better) == (2, 0.8, 0.7, "batch")
    assert (time.at, time.full, time.batch, time.is_alone) == (6, 0.8, 0.5, True)
    assert verdict(list(found.values()))[-1].startswith("After the same training time, measured alone and scaled, ")


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
    assert "tracking.early_updates=true" in verdict(list(found.values()))[1]


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


def test_equal_runs_of_different_seeds_have_no_interval() -> None:
    rows = [run(chunk, [loss], seed=str(seed)) for seed in range(3) for chunk, loss in (("full", 0.5), (250, 0.4))]
    found = compare_full_to_batch(sweep_of(*rows))
    each = found[0]
    assert (each.seeds, each.varies, each.full_std, each.interval, each.better) == (3, False, None, None, "batch")
    assert any("bit-identical: nothing varied" in sentence for sentence in verdict(found))


def test_differences_that_do_not_vary_have_no_interval() -> None:
    rows = [run("full", [loss], seed=str(seed)) for seed, loss in enumerate((0.3, 0.5, 0.7))]
    rows += [run(250, [loss + 0.1], seed=str(seed)) for seed, loss in enumerate((0.3, 0.5, 0.7))]
    found = by_axis(*rows)["epochs"]
    assert (found.varies, found.interval) == (True, None)


def test_several_intervals_are_adjusted() -> None:
    """The clearer difference is tested at 2.5%, the other one at 5%."""
    losses = {"full": [0.50, 0.54, 0.47, 0.52], 250: [0.45, 0.50, 0.44, 0.47], 500: [0.51, 0.52, 0.49, 0.5]}
    rows = [run(chunk, [loss], seed=str(seed)) for chunk, some in losses.items() for seed, loss in enumerate(some)]
    found = {each.chunksize: each for each in compare_full_to_batch(sweep_of(*rows)) if each.axis == "epochs"}
    for chunk, level in ((250, 0.975), (500, 0.95)):
        expected = ttest_rel(losses[chunk], losses["full"]).confidence_interval(level)
        assert found[chunk].interval == pytest.approx((expected.low, expected.high))
        assert found[chunk].adjusted_for == 2
    *_, adjusted, clear = verdict([*found.values()])
    assert "adjusted for 2 comparisons (Holm)" in adjusted
    assert clear == (
        "After the same number of epochs, 1 of 2 intervals exclude 0; elsewhere, differences may be due to chance."
    )


@pytest.mark.parametrize(
    ("p", "levels"),
    [([0.01, 0.04, 0.03], [0.05 / 3, 0.025, 0.025]), ([0.04, 0.001], [0.05, 0.025]), ([0.9], [0.05]), ([], [])],
)
def test_levels_of_holm(p: list[float], levels: list[float]) -> None:
    assert holm_levels(p) == pytest.approx(levels)


def test_splits_are_paired_and_their_overlap_widens_the_interval() -> None:
    fulls, batches = [0.50, 0.54, 0.47, 0.52], [0.45, 0.50, 0.46, 0.44]
    more = {"data.holdout": "0.2", "data.test": "0.0"}
    rows = [run("full", [loss], **more, **{"data.split_seed": str(seed)}) for seed, loss in enumerate(fulls)]
    rows += [run(250, [loss], **more, **{"data.split_seed": str(seed)}) for seed, loss in enumerate(batches)]
    sweep = sweep_of(*rows)
    found = next(each for each in compare_full_to_batch(sweep) if each.axis == "epochs")
    plain = ttest_rel(batches, fulls).confidence_interval(0.95)
    assert found.seeds == 4
    low, high = found.interval or (0.0, 0.0)
    assert high - low == pytest.approx((plain.high - plain.low) * math.sqrt((1 / 4 + 0.25) / (1 / 4)))
    # Runs of different splits are not ranked against each other.
    means = averaged(sweep)
    assert [(row["sample"], row["repetitions"]) for row in ranked(means.runs)] == [("batch", 4), ("full", 4)]
    assert [row["sample"] for row in ranked(sweep.runs, sweep.params)] == ["batch"] * 4 + ["full"] * 4


def test_the_larger_value_wins_if_larger_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """The direction comes from `harness.config.metrics` alone."""
    monkeypatch.setattr("harness.tracking.ranking.sign", lambda metric: -1)
    sweep = sweep_of(run("full", [0.5]), run(250, [0.6]), run(500, [0.7]))
    found = [each for each in compare_full_to_batch(sweep) if each.axis == "epochs"]
    assert [(each.better, each.chunksize) for each in found] == [("batch", 500), ("batch", 250)]
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


def test_times_of_one_kind_are_compared() -> None:
    """One pair was trained alone and took 5 s per run; two others shared a scan and, timed alone, take 2 ms per run."""
    timed = {"shared_by": 4, "time/alone_s": 0.002}
    rows = [run(size, [0.9, 0.5], seconds=2.5, seed="0") for size in ("full", 250)]
    rows += [run(size, [0.9, 0.5], seed=seed, **timed) for size in ("full", 250) for seed in "12"]
    time = by_axis(*rows)["time"]
    assert (time.at, time.seeds, time.is_alone) == (0.002, 2, True)
    assert by_axis(*rows)["epochs"].seeds == 3


def test_nothing_to_compare() -> None:
    assert compare_full_to_batch(sweep_of(FULL)) == []
    assert compare_full_to_batch(sweep_of(BATCH)) == []
    assert compare_full_to_batch(sweep_of()) == []
    assert times_to_target(sweep_of(), 0.5) == []


def test_runs_with_and_without_weights_are_not_compared_with_each_other() -> None:
    weighted = [run(size, [loss], **{"data.class_weight": "balanced"}) for size, loss in (("full", 0.9), (250, 0.8))]
    plain = [run(size, [loss], **{"data.class_weight": None}) for size, loss in (("full", 0.5), (250, 0.4))]
    found = [each for each in compare_full_to_batch(sweep_of(*weighted, *plain)) if each.axis == "epochs"]
    assert sorted((each.full, each.batch, each.setting.get("data.class_weight")) for each in found) == [
        (0.5, 0.4, None),
        (0.9, 0.8, "balanced"),
    ]
