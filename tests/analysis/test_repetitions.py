"""Repeated settings, reused runs and runs that kept an earlier epoch's model, wherever they are shown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from mlflow.entities import LoggedModelOutput, Metric, Param, Run, RunData, RunInfo, RunOutputs, RunTag

from harness.analysis import report
from harness.analysis.best_run import best_of
from harness.analysis.comparison import compare_full_to_batch
from harness.analysis.figures import costs, heat_map
from harness.analysis.replicates import averaged, best_of_each
from harness.analysis.run_list import run_list
from harness.analysis.sentences import best_runs, conclusion, shared_scan
from harness.analysis.settings import chunksize, settings
from harness.analysis.sweep_list import sweeps_as_csv
from harness.analysis.tables import run_columns
from harness.tracking.frames import Sweep, frame_of
from harness.tracking.ranking import objective, ranked
from tests.sweeps import run, sweep_of

SPLIT = "data.split_seed"
LUCKY = [
    run(size, [loss], **{SPLIT: split})
    for size, losses in (("full", (0.9, 0.1, 0.8)), (250, (0.4, 0.5, 0.6)), (500, (0.3, 0.9, 0.9)))
    for split, loss in zip("012", losses, strict=True)
]
"""Chunks of 250 have the best mean, the full sample the best split, and chunks of 500 the best first split."""


def recorded(
    number: int,
    params: Mapping[str, str],
    metrics: Mapping[str, float],
    *,
    model: bool = False,
    status: str = "FINISHED",
) -> Run:
    """A run that has ended, as MLflow returns it."""
    info = RunInfo(str(number) * 32, "0", "me", status, number, number, "active", run_name=f"run {number}")
    kept = "0" if "restored/val/r2" in metrics else ""
    tags = {"kind": "run", "sample": "batch"} | ({"restored_epoch": "2", "stopped_at": "4"} if kept else {})
    data = RunData(
        [Metric(key, value, 0, 1) for key, value in metrics.items()],
        [Param(key, value) for key, value in ({"learning_rate": "0.1", "epochs": "8"} | dict(params)).items()],
        [RunTag(key, value) for key, value in tags.items()],
    )
    return Run(info, data, run_outputs=RunOutputs([LoggedModelOutput("m", 0)] if model else []))


def summary(metric: str | None) -> Run:
    tags = [] if metric is None else [RunTag("objective.metric", metric)]
    return Run(RunInfo("9" * 32, "0", "me", "FINISHED", 0, 0, "active", run_name="sweep"), RunData([], [], tags))


def of_splits(*, model: int) -> list[Run]:
    rows = [("100", (0.5, 0.1)), ("200", (0.4, 0.4))]
    cases = [(size, split, loss) for split in (0, 1) for size, losses in rows for loss in [losses[split]]]
    return [
        recorded(number, {"chunksize": size, SPLIT: str(split)}, {"val/loss": loss}, model=number == model)
        for number, (size, split, loss) in enumerate(cases)
    ]


def test_the_best_run_of_a_size_has_the_best_mean() -> None:
    rows = [
        run(size, [loss], rate=rate, **{SPLIT: split})
        for rate, losses in (("0.1", (0.5, 0.6)), ("0.2", (0.9, 0.1)), ("0.3", (0.9, 0.3)))
        for size in ("full", 250)
        for split, loss in zip("01", losses, strict=True)
    ]
    best = best_of_each(sweep_of(*rows), chunksize)
    assert best[["learning_rate", SPLIT]].to_numpy().tolist() == [[0.2, 0], [0.2, 0]]
    found = heat_map(sweep_of(*rows))
    assert found is not None
    np.testing.assert_allclose(np.asarray(found.axes[0].images[0].get_array()), [[0.55, 0.5, 0.6]] * 2)


def test_the_best_run_is_not_the_one_of_the_luckiest_split() -> None:
    """The best run has a logged model, so that `register best` has something to register."""
    runs = of_splits(model=2)
    assert [each.data.metrics["val/loss"] for each in runs] == [0.5, 0.4, 0.1, 0.4]
    assert best_of(of_splits(model=1)) == "1" * 32
    assert best_of(of_splits(model=9)) == "1" * 32  # No model was logged, so the first split counts.
    lines = sweeps_as_csv([(summary(""), of_splits(model=1))]).splitlines()
    assert dict(zip(lines[0].split(","), lines[1].split(","), strict=True))["result"] == "0.3"


def test_a_notebook_shows_the_best_first() -> None:
    table = sweep_of(*LUCKY).table
    assert table["chunksize"].tolist() == [250] * 3 + ["full"] * 3 + [500] * 3
    more = {"objective.metric": "val/r2"}
    rows = [run(10, [0.5], rate=rate, **more, **{"val/r2": score}) for rate, score in (("1", 0.1), ("2", 0.9))]
    assert sweep_of(*rows).table["val/r2"].tolist() == [0.9, 0.1]


def test_the_metric_of_a_sweep_decides_for_the_runs_that_it_reuses() -> None:
    chosen = {"objective.metric": "val/mae"}
    runs = [
        recorded(1, {"chunksize": "full"} | chosen, {"val/loss": 0.5, "val/mae": 1.0}),
        recorded(2, {"chunksize": "100"}, {"val/loss": 0.4, "val/mae": 2.0}),
    ]
    found = [objective(frame_of(runs, [summary(metric)])).metric for metric in ("", "val/loss", "val/mae", None)]
    assert found == ["val/loss", "val/loss", "val/mae", "val/mae"]
    assert [best_of(runs, [summary(metric)])[0] for metric in ("", "val/mae")] == ["2", "1"]
    text = sweeps_as_csv([(summary(""), runs)])
    assert ",val/loss,0.4," in text


def test_repetitions_that_are_equal_are_no_mean() -> None:
    for losses, told in (((0.5, 0.5), "val/loss 0.5 (equal in 2 repetitions)"), ((0.5, 0.7), "0.6 (mean of 2 runs)")):
        sweep = averaged(sweep_of(*(run(10, [loss], seed=seed) for seed, loss in zip("01", losses, strict=True))))
        assert told in best_runs(ranked(sweep.runs), objective(sweep.runs))[0]


def test_a_setting_that_lost_repetitions_comes_after_the_others() -> None:
    rows = [run(10, [0.1], seed="0")]
    rows += [run(10, [], seed=seed, status="FAILED", diverged_at="3", epochs="1") for seed in "12"]
    rows += [run(10, [0.25], rate="0.2", seed=seed) for seed in "012"]
    rows += [run(10, [], rate="0.2", seed="1", status="FAILED", epochs="1")]  # Another attempt at it finished.
    sweep = sweep_of(*rows)
    assert best_of_each(sweep, chunksize)["val/loss"].tolist() == [0.25]
    assert sweep.table["val/loss"].tolist()[:4] == [0.25, 0.25, 0.25, 0.1]
    means = ranked(averaged(sweep).runs)
    assert ["runs", "3", "1 of 3"] in run_columns(averaged(sweep), means)
    assert [each["val/loss"] for each in means] == [0.25, 0.1]
    assert "val/loss 0.1 (2 other runs did not finish)" in best_runs(means[1:], objective(sweep.runs))[0]
    alone = averaged(sweep_of(*rows[:3], run(10, [0.25], rate="0.2"))).runs
    assert [each["val/loss"] for each in ranked(alone)] == [0.25, 0.1]
    cases = [("1", "0", 0.1), ("1", "1", 9.0), ("2", "0", 0.2), ("2", "1", 0.2)]
    stored = [
        recorded(
            number,
            {"learning_rate": rate, "seed": seed},
            {"val/loss": loss},
            status="FAILED" if loss > 1 else "FINISHED",
        )
        for number, (rate, seed, loss) in enumerate(cases)
    ]
    assert best_of(stored) == "2" * 32


def test_the_metric_is_not_a_setting() -> None:
    rows = [run(size, [0.5], **{"objective.metric": name}) for size, name in (("full", "val/mae"), (250, "val/loss"))]
    sweep = sweep_of(*rows)
    assert "objective.metric" not in settings(sweep)
    assert [each.better for each in compare_full_to_batch(sweep) if each.axis == "epochs"] == ["equal"]


def test_each_scan_has_its_own_number_of_lanes() -> None:
    rows = [run("full", [0.5], seed=seed, shared_by=lanes) for seed, lanes in (("0", 12), ("1", 4), ("2", 4))]
    sweep = sweep_of(*rows)
    (sentence,) = shared_scan(sweep.runs.to_dict("records"))
    assert sentence.startswith("scan s and scan rows/s are measured for a whole scan of 4 or 12 lanes")
    figure = costs(sweep)
    assert figure is not None
    assert figure.axes[1].get_xlabel() == "training time of the scan, shared by 4 or 12 lanes"
    assert " of 4 or 12 lanes" in report.render(sweep, {})


def test_all_lanes_shared_a_scan_only_if_there_are_no_more() -> None:
    rows = [run(10, [0.5], seed=seed, shared_by=2, **{"time/alone_s": 1.0}) for seed in "0123"]
    (few,), (many,) = (shared_scan(sweep_of(*some).runs.to_dict("records")) for some in (rows[:2], rows))
    assert "All 2 lanes were trained together by one scan" in few
    assert "The 2 lanes of a scan were trained together; the time of all scans is" in many


def test_the_report_counts_runs_by_how_they_ended() -> None:
    rows = [run(10, [0.5]), *(run(10, [0.9], rate=rate, status="KILLED", pruned_at="1") for rate in ("1", "2"))]
    stopped = run(10, [0.9], rate="3", status="KILLED", pruned_at=None)
    assert dict(report.facts(sweep_of(*rows, stopped)))["Runs"] == "2 pruned, 1 finished, 1 interrupted"


RESTORED = {"val/loss": 1.0, "val/r2": 0.4, "restored/val/loss": 0.5, "restored/val/r2": 0.5, "updates": 72.0}


def test_a_run_has_the_result_of_the_epoch_that_it_keeps() -> None:
    each = recorded(1, {"chunksize": "1000", "objective.metric": "val/r2"}, RESTORED)
    assert run_list([each])[3] == ["result", "val/r2 0.5"]
    runs = frame_of([each])
    found = objective(runs)
    assert best_runs(ranked(runs), found)[0] == (
        "Best batch run (chunks of 1000 rows): val/r2 0.5 after 36 updates in 2 epochs, the best of 4 epochs."
    )
    assert conclusion(ranked(runs), found) == "The best run is run 1: val/r2 0.5 after 36 updates."
    columns = {title: cells for title, *cells in run_columns(Sweep(runs, ("chunksize",), runs), ranked(runs))}
    assert (columns["stopped\nat"], columns["kept\nepoch"], columns["updates"]) == (["4"], ["2"], ["72"])
