"""What `compare` prints, and what it writes as CSV, JSON and Markdown."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import pandas as pd
import pytest
from rich.console import Console

from harness.analysis.render import as_csv, as_json, as_markdown, show
from harness.tracking.frames import Sweep
from tests.sweeps import run, sweep_of

LOST = run(10, [], rate="9", status="FAILED", diverged_at="3", epochs="5")
SWEEP = sweep_of(run("full", [0.9, 0.5], shared_by=2), run(500, [0.6, 0.4], shared_by=2), LOST)


def shown(sweep: Sweep, width: int = 100, target: float | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    show(sweep, console, target)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def seeds(losses: Sequence[tuple[float, float]]) -> Sweep:
    rows = [
        run(chunk, [loss], seed=str(seed))
        for seed, pair in enumerate(losses)
        for chunk, loss in zip(("full", 500), pair, strict=True)
    ]
    return sweep_of(*rows)


def test_the_whole_output() -> None:
    assert shown(SWEEP, target=0.5) == [
        "                              val/ scan memory/",
        "run chunk  lr epochs  updates loss    s  update",
        "  1   500 0.1      2        4  0.4    2    4 kB",
        "  0  full 0.1      2        2  0.5    2    8 kB",
        "  2    10   9      5 diverged",
        "",
        "Best batch run (chunks of 500 rows): val/loss 0.4 after 4 updates in 2 epochs, 4 kB per update.",
        "Best full-sample run: val/loss 0.5 after 2 updates in 2 epochs, 8 kB per update.",
        "scan s and scan rows/s are measured for a whole scan of 2 lanes, not for single runs. Runs that differ only "
        "in epochs share a lane.",
        "",
        "Each chunksize vs. the full sample, val/loss (* better):",
        "                   same   same                                  same    same    same",
        "                 epochs epochs updates updates memory memory updates updates updates",
        "chunk  lr epochs   full  batch    full   batch   full  batch            full   batch",
        "  500 0.1      2    0.5   0.4*       2       4   8 kB   4 kB       2    0.5*     0.6",
        "",
        "After the same number of epochs (and rows), chunks of 500 rows beat the full sample in 1 of 1 setting.",
        "After the same number of updates, chunks of 500 rows beat the full sample in 0 of 1 setting.",
        "Training times cannot be compared: the runs shared a scan, and their updates were not timed alone. Train with "
        "runtime.time_alone=true, or with hydra/launcher=basic, which trains each run on its own.",
        "",
        "To reach val/loss 0.5:",
        "chunk  lr epochs updates scan s",
        " full 0.1      2       2      2",
        "  500 0.1      2       4      2",
    ]


def test_a_narrow_terminal_names_the_columns_left_out() -> None:
    lines = shown(SWEEP, 34)
    assert "Columns that do not fit this width: scan s, memory/update. --csv, --json and --markdown show all." in lines
    table = lines[: lines.index("")]
    assert max(len(line) for line in table if not line.startswith("Columns that")) <= 34


def test_a_long_table_ends_after_the_best_hundred() -> None:
    sweep = sweep_of(*(run(chunk, [chunk / 1000]) for chunk in range(1, 104)))
    lines = shown(sweep)
    table = lines[: lines.index("3 more rows are not shown. --csv, --json and --markdown show all.")]
    assert [line.split()[1] for line in table[2:]] == [str(chunk) for chunk in range(1, 101)]
    assert len(as_csv(sweep).splitlines()) == 104


def test_times_of_runs_trained_alone_are_compared() -> None:
    lines = shown(sweep_of(run("full", [0.9, 0.5]), run(500, [0.6, 0.4], seconds=2.0)))
    assert "train" in lines[0]
    assert not any("scan" in line for line in lines)
    assert "After the same training time, chunks of 500 rows beat the full sample in 0 of 1 setting." in lines


def test_seeds_have_a_mean_a_spread_and_an_interval() -> None:
    lines = shown(seeds([(0.5, 0.4), (0.6, 0.41), (0.7, 0.42)]), 140)
    assert [line.split()[1:7] for line in lines[2:4]] == [
        ["500", "0.1", "1", "3", "2", "0.41±0.01"],
        ["full", "0.1", "1", "3", "1", "0.6±0.1"],
    ]
    row = next(line for line in lines[4:] if "±" in line)
    assert "0.6±0.1" in row
    assert "0.41±0.01*" in row
    assert "-0.19 [-0.41, +0.034]" in row  # The half-width is 4.303 times 0.09 / sqrt(3).
    lines = shown(seeds([(5000, 1000), (6000, 1500), (7000, 1200)]), 140)
    assert "6,000±1,000 1,233±252*     3 -4,767 [-7,075, -2,459]" in next(line for line in lines[4:] if "±" in line)


def test_only_functions_lose_what_is_before_their_last_dot() -> None:
    more = [{"data.features": f"[{name}]", "model._target_": f"mine.{name}"} for name in ("a.b", "a.c")]
    lines = shown(sweep_of(*(run(chunk, [0.5], **each) for each in more for chunk in ("full", 500))), 140)
    table = lines[lines.index("Each chunksize vs. the full sample, val/loss (* better):") :]
    assert sorted(line.split()[3:5] for line in table if line.startswith("  500")) == [["[a.b]", "b"], ["[a.c]", "c"]]


def test_csv_has_one_line_per_run_with_everything_recorded() -> None:
    rows = pd.read_csv(io.StringIO(as_csv(SWEEP)))
    assert list(rows["chunksize"]) == ["500", "full", "10"]
    assert list(rows["status"]) == ["FINISHED", "FINISHED", "FAILED"]
    assert list(rows["val/loss"])[:2] == [0.4, 0.5]
    assert set(SWEEP.runs.columns) == set(rows.columns)


def test_csv_with_a_target_has_one_line_per_chunksize_and_setting() -> None:
    rows = pd.read_csv(io.StringIO(as_csv(SWEEP, 0.5)))
    assert rows[["chunksize", "learning_rate", "epochs", "updates", "shared_by"]].values.tolist() == [
        ["full", 0.1, 2, 2, 2],
        ["500", 0.1, 2, 4, 2],
    ]


def test_json_has_runs_comparisons_and_times_to_target() -> None:
    found = json.loads(as_json(SWEEP, 0.5))
    assert found["objective"] == "val/loss"
    assert [run["chunksize"] for run in found["runs"]] == [500, "full", 10]
    assert [(each["axis"], each["better"]) for each in found["full_against_batch"]] == [
        ("epochs", "batch"),
        ("rows", "batch"),
        ("updates", "full"),
        ("time", ""),
    ]
    assert "shared a scan" in found["full_against_batch"][-1]["reason"]
    assert [each["updates"] for each in found["to_target"]] == [2, 4]


def test_markdown_has_the_tables_of_the_terminal() -> None:
    lines = as_markdown(SWEEP, 0.5).splitlines()
    assert lines[0] == "| run | chunk | lr | epochs | updates | val/loss | scan s | memory/update |"
    assert lines[2] == "| 1 | 500 | 0.1 | 2 | 4 | 0.4 | 2 | 4 kB |"
    assert "| 500 | 0.1 | 2 | 0.5 | 0.4\\* | 2 | 4 | 8 kB | 4 kB | 2 | 0.5\\* | 0.6 |" in lines
    assert lines[-2:] == ["| full | 0.1 | 2 | 2 | 2 |", "| 500 | 0.1 | 2 | 4 | 2 |"]


@pytest.mark.parametrize("write", [as_csv, as_json, as_markdown])
def test_a_sweep_without_runs_can_be_written(write) -> None:
    assert write(sweep_of(), 0.5) is not None
    assert write(sweep_of())


@pytest.mark.parametrize(
    ("chunk", "advice"), [(500, "no full-sample run to compare"), ("full", "no batch run to compare")]
)
def test_a_sweep_of_one_kind_says_what_is_missing(chunk: int | str, advice: str) -> None:
    assert advice in " ".join(shown(sweep_of(run(chunk, [0.5], rate="0.1"), run(chunk, [0.4], rate="0.2"))))
