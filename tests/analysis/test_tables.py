"""The reader, on a store filled by the writer, and the table of runs."""

from __future__ import annotations

import io
import math
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from harness.analysis.objective import objective
from harness.analysis.render import show
from harness.analysis.sentences import best_runs
from harness.errors import ConfigError
from harness.tracking.frames import Sweep
from harness.tracking.ranking import ranked
from harness.tracking.reader import RunReader
from harness.tracking.run_pages import PAGE
from harness.tracking.tracker import Tracker
from tests.sweeps import sweep_of

PARAMS = {"chunksize": "4", "learning_rate": "0.1", "epochs": "2", "seed": "0", "data.features": "[x]"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Ids, by name, of two sweeps that share a run, of a run in neither, and of another program's run.

    The first sweep has its own experiment; `uri` is the store's address.
    """
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    ids = {"uri": uri}
    with Tracker(uri, "first question") as first, Tracker(uri, "second question") as second:

        def start(tracker: Tracker, name: str, tags: Mapping[str, str], losses: Sequence[float] = ()) -> None:
            ids[name] = tracker.start_run(name, PARAMS | {"seed": str(len(ids))}, tags)
            for epoch, loss in enumerate(losses, 1):
                tracker.log(ids[name], {"val/loss": loss}, epoch)
            tracker.end_run(ids[name], "FINISHED" if losses else "FAILED")

        start(first, "old sweep", {"kind": "sweep"})
        start(first, "old", {"kind": "run", "sample": "batch", "sweep": ids["old sweep"]}, [0.5])
        start(second, "sweep", {"kind": "sweep"})
        start(second, "another sweep", {"kind": "sweep"})
        both = f"{ids['sweep']},{ids['another sweep']}"
        start(second, "a", {"kind": "run", "sample": "batch", "sweep": ids["sweep"]}, [0.75, 0.25])
        start(second, "shared", {"kind": "run", "sample": "full", "sweep": both}, [0.5, 0.375])
        start(second, "lost", {"kind": "run", "sample": "batch", "sweep": ids["another sweep"], "diverged_at": "7"})
        start(second, "alone", {"kind": "run", "sample": "batch"}, [0.125])
        start(second, "stranger", {}, [0.0])
    return ids


@pytest.fixture
def records(store: dict[str, str]) -> RunReader:
    return RunReader(store["uri"])


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ([], ["shared", "lost"]),  # of the newest sweep
        (["another sweep"], ["shared", "lost"]),
        (["sweep"], ["a", "shared"]),
        (["old sweep"], ["old"]),  # from another experiment
        (["alone"], ["alone"]),
        (["lost", "a"], ["lost", "a"]),
        (["sweep", "another sweep", "a"], ["a", "shared", "lost"]),  # each once
    ],
    ids=str,
)
def test_ids_name_runs_or_sweeps(records: RunReader, store: dict[str, str], named: list[str], found: list[str]) -> None:
    runs = records.load([store[name] for name in named]).runs
    assert list(runs["name"]) == found
    assert list(runs["run_id"]) == [store[name] for name in found]


def test_a_row_has_everything_recorded_for_a_run(records: RunReader, store: dict[str, str]) -> None:
    (row,) = records.load([store["a"]]).runs.to_dict("records")
    assert row == {
        "run_id": store["a"],
        "name": "a",
        "status": "FINISHED",
        "sample": "batch",
        "diverged_at": None,
        **{"chunksize": 4, "learning_rate": 0.1, "epochs": 2, "seed": row["seed"], "data.features": "[x]"},
        "val/loss": 0.25,  # the last epoch's
    }


def test_missing_values_are_empty(records: RunReader, store: dict[str, str]) -> None:
    runs = records.load([store["lost"], store["a"]]).runs.set_index("name")
    assert runs.loc["lost", "diverged_at"] == 7
    assert math.isnan(runs.loc["lost", "val/loss"])
    assert runs.loc["lost", "status"] == "FAILED"


def test_the_newest_sweep_is_the_one_started_last(records: RunReader, store: dict[str, str]) -> None:
    assert records.newest_sweep() == store["another sweep"]


@pytest.mark.parametrize("unknown", ["0" * 32, "nonsense", "../..", "%"])
def test_an_unknown_id_is_refused(records: RunReader, unknown: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        records.load([unknown])
    assert str(refusal.value) == f"No run or sweep with the id {unknown} in {records.uri}."


def test_a_run_of_another_program_is_refused(records: RunReader, store: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refusal:
        records.load([store["stranger"]])
    assert str(refusal.value) == f"Run {store['stranger']} was not recorded by the harness."


def test_a_missing_store_is_refused_and_not_created(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with pytest.raises(ConfigError) as refusal:
        RunReader(f"sqlite:///{path}")
    assert str(refusal.value) == f"No tracking store at {path}. Run `harness train` first, or pass --uri."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://127.0.0.1:9", "[Errno 111] Connection refused"),
        ("sqlite:///{folder}/text.csv", "file is not a database"),
        ("nonsense://store", "got unsupported URI 'nonsense://store'"),
    ],
)
def test_an_unreachable_store_is_refused(
    tmp_path: Path, uri: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "text.csv").write_text("x,y\n1,2\n" * 1000)
    uri = uri.format(folder=tmp_path)
    with pytest.raises(ConfigError) as refusal:
        RunReader(uri)
    assert str(refusal.value).startswith(f"--uri: cannot open the tracking store {uri} (")
    assert reason in str(refusal.value)


def test_a_store_without_a_sweep(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with Tracker(uri, "harness") as tracker:
        tracker.start_run("alone", {}, {"kind": "run"})
    with pytest.raises(ConfigError) as refusal:
        RunReader(uri).load()
    assert str(refusal.value) == (
        f"No sweeps found in {uri}. Run `harness train -m ...` first, or name a run that `harness runs` lists."
    )


@pytest.mark.slow
def test_a_sweep_with_more_runs_than_a_page(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with Tracker(uri, "harness") as tracker:
        sweep = tracker.start_run("sweep", {}, {"kind": "sweep"})
    client = MlflowClient(uri)
    names = [str(number) for number in range(PAGE + 3)]
    tags = {"kind": "run", "sweep": sweep}
    runs = [client.create_run(tracker.experiment_id, run_name=name, tags=tags).info.run_id for name in names]
    params = {"chunksize": "1", "learning_rate": "0.1", "epochs": "1"}
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        of_runs = [(run_id, key, value) for run_id in runs for key, value in params.items()]
        store.executemany("INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)", of_runs)
    assert sorted(RunReader(uri).load().runs["name"], key=int) == names


# The table.

HOUSES = {
    "name": "a",
    "status": "FINISHED",
    "sample": "batch",
    "diverged_at": None,
    "chunksize": "100",
    "learning_rate": "0.01",
    "epochs": "20",
    "seed": "0",
    "loss": "mse",
    "optimizer.name": "adam",
    "model._target_": "harness.models.linear",
    "updates": 3460.0,
    "train/loss": 0.535183,
    "val/loss": 0.572968,
    "val/rmse": 280098.04,
    "val/mae": 174988.7,
    "val/r2": 0.4647158,
    "intercept": -105417.754,
    "slope": 300.6079,
    "time/train_s": 0.0678384,
    "rows_per_second": 1272066.9,
    "memory/update_mb": 0.0008,
}
FULL = HOUSES | {
    "name": "b",
    "sample": "full",
    "chunksize": "full",
    "updates": 20.0,
    "val/loss": 0.9,
    "memory/update_mb": 0.138072,
}
LOST = {key: HOUSES[key] for key in ("chunksize", "epochs", "seed", "loss", "optimizer.name", "model._target_")} | {
    "name": "c",
    "status": "FAILED",
    "sample": "batch",
    "learning_rate": "1e+30",
    "diverged_at": "2",
}


def shown(sweep: Sweep, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(sweep, console)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


TABLE = """
                                train/  val/    val/  val/   inter-       train  rows memory/
run chunk    lr epochs  updates   loss  loss    rmse    r2     cept slope     s    /s  update
  2   100  0.01     20    3,460 0.5352 0.573 280,098 0.465 -105,418 300.6 0.068 1.27M   800 B
  1  full  0.01     20       20 0.5352   0.9 280,098 0.465 -105,418 300.6 0.068 1.27M  138 kB
  0   100 1e+30     20 diverged

Best batch run (chunks of 100 rows): val/loss 0.573 after 3,460 updates in 20 epochs, 800 B per update.
Best full-sample run: val/loss 0.9 after 20 updates in 20 epochs, 138 kB per update."""


def test_a_whole_table() -> None:
    assert "\n" + shown(sweep_of(LOST, FULL, HOUSES)) == TABLE


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_cell_is_cut_at_any_width(width: int) -> None:
    large = HOUSES | {"updates": 21613000.0, "val/rmse": 1.23e9, "val/r2": -9.9e60, "intercept": -1.5e300}
    text = shown(sweep_of(HOUSES, FULL, LOST, large), width)
    table = [line for line in text.split("\n\n")[0].splitlines() if not line.startswith("Columns that")]
    assert "…" not in text
    assert max(map(len, table)) <= width
    assert len(table) == 2 + 4
    # The last columns are left out; the losses stay.
    for number in ("0.573", "0.9", "diverged", "21,613,000"):
        assert number in text


def test_a_wide_terminal_shows_all_columns() -> None:
    titles = shown(sweep_of(HOUSES, FULL), 100).splitlines()[1].split()
    assert titles == [
        *(
            "run",
            "chunk",
            "lr",
            "epochs",
            "updates",
            "loss",
            "loss",
            "rmse",
            "r2",
            "cept",
            "slope",
            "s",
            "/s",
            "update",
        ),
    ]


def test_the_best_run_is_first_and_unfinished_runs_are_last() -> None:
    rows = [
        LOST | {"name": "lost"},
        HOUSES | {"name": "second", "val/loss": 0.3},
        HOUSES | {"name": "first", "val/loss": 0.2},
        HOUSES | {"name": "under way", "status": "RUNNING", "val/loss": 0.1},
        HOUSES | {"name": "third", "val/loss": 0.4},
    ]
    assert [row["name"] for row in ranked(sweep_of(*rows).runs)] == ["first", "second", "third", "lost", "under way"]


@pytest.mark.parametrize(
    ("status", "diverged_at", "word"),
    [
        ("FAILED", "3", "diverged"),
        ("FAILED", None, "failed"),
        ("KILLED", None, "interrupted"),
        ("RUNNING", None, "running"),
    ],
)
def test_unfinished_runs_show_their_status_and_no_numbers(status: str, diverged_at: str | None, word: str) -> None:
    other = HOUSES | {"status": status, "diverged_at": diverged_at, "val/loss": 0.111}
    text = shown(sweep_of(other, FULL))
    assert text.splitlines()[3].split() == ["0", "100", "0.01", "20", word]
    assert "0.111" not in text


def test_without_a_holdout_runs_are_compared_by_their_training_loss() -> None:
    rows = [{key: value for key, value in row.items() if not key.startswith("val/")} for row in (HOUSES, FULL)]
    rows[1]["train/loss"] = 0.25
    sweep = sweep_of(*rows)
    assert objective(sweep.runs).metric == "train/loss"
    assert [row["name"] for row in ranked(sweep.runs)] == ["b", "a"]
    assert best_runs(ranked(sweep.runs), objective(sweep.runs)) == [
        "Best batch run (chunks of 100 rows): train/loss 0.5352 after 3,460 updates in 20 epochs, 800 B per update.",
        "Best full-sample run: train/loss 0.25 after 20 updates in 20 epochs, 138 kB per update.",
    ]
    assert "val/" not in shown(sweep)


def test_sentences_name_the_best_run_of_each_kind() -> None:
    runs = sweep_of(HOUSES, HOUSES | {"chunksize": "10", "val/loss": 0.25}, LOST).runs
    assert best_runs(ranked(runs), objective(runs)) == [
        "Best batch run (chunks of 10 rows): val/loss 0.25 after 3,460 updates in 20 epochs, 800 B per update.",
        "The best of 2 batch runs is chosen by the val/loss shown, whose value is therefore optimistic. data.test=0.1 "
        "sets aside rows on which only the chosen runs are evaluated.",
    ]


def test_chosen_runs_show_the_metric_of_the_test() -> None:
    runs = sweep_of(HOUSES | {"test/loss": 0.6}, FULL | {"test/loss": 0.8}, HOUSES | {"val/loss": 0.9}).runs
    batch, full, note = best_runs(ranked(runs), objective(runs))
    assert batch.startswith("Best batch run (chunks of 100 rows): val/loss 0.573, test/loss 0.6 after")
    assert full.startswith("Best full-sample run: val/loss 0.9, test/loss 0.8 after")
    assert note == "test/loss is computed on rows that were not used for training or for choosing the best runs."


def test_singular_and_plural() -> None:
    runs = sweep_of(FULL | {"updates": 1.0, "epochs": "1"}).runs
    (sentence,) = best_runs(ranked(runs), objective(runs))
    assert sentence == "Best full-sample run: val/loss 0.9 after 1 update in 1 epoch, 138 kB per update."


def test_large_numbers_are_abbreviated() -> None:
    large = HOUSES | {"val/loss": 1.5e30, "val/rmse": 999_999_999.4, "val/r2": -9.87e60, "intercept": -1.5e300}
    row = shown(sweep_of(large), 200).splitlines()[2].split()
    assert row[6:10] == ["1.5e+30", "999,999,999", "-9.87e+60", "-1.5e+300"]


def test_a_sweep_without_finished_runs_has_no_sentence() -> None:
    text = shown(sweep_of(LOST, LOST | {"diverged_at": None, "status": "KILLED"}))
    assert [line.split() for line in text.strip().splitlines()] == [
        ["run", "chunk", "lr", "epochs"],
        ["0", "100", "1e+30", "20", "diverged"],
        ["1", "100", "1e+30", "20", "interrupted"],
    ]


@pytest.mark.parametrize(
    ("key", "values", "title", "cells"),
    [
        ("seed", ("0", "1"), "seed", ["0", "1"]),
        ("loss", ("mse", "huber"), "loss", ["mse", "huber"]),
        ("optimizer.name", ("adam", "sgd"), "optimizer", ["adam", "sgd"]),
        ("model._target_", ("harness.models.linear", "mine.deep"), "model", ["linear", "deep"]),
        ("model.units", ("[8]", "[64, 64]"), "units", ["[8]", "[64, 64]"]),
        ("data.scaling", ("standard", "none"), "scaling", ["standard", "none"]),
        ("data.holdout", ("0.2", "0.25"), "holdout", ["0.2", "0.25"]),
    ],
)
def test_other_varying_settings_are_shown(key: str, values: tuple[str, str], title: str, cells: list[str]) -> None:
    text = shown(sweep_of(HOUSES | {key: values[0]}, FULL | {key: values[1]}), 120)
    header, *rows = text.splitlines()[1:4]
    assert header.split()[4] == title
    for row, cell in zip(rows, cells, strict=True):
        assert f" {cell} " in row


def test_of_long_lists_only_what_differs_is_shown() -> None:
    features = ["sqft_living", "bedrooms", "bathrooms", "grade", "floors"]
    rows = [HOUSES | {"data.features": f"[{','.join(names)}]"} for names in (features, features[:4], features[1:])]
    lines = shown(sweep_of(*rows), 200).splitlines()
    cells = [line.split()[4] for line in lines[1:5]]
    assert cells == ["features", "...,sqft_living,floors", "...,sqft_living", "...,floors"]
    assert "0.573" in lines[2]


@pytest.mark.parametrize("key", ["runtime.lane_tile", "tracking.experiment", "data.path", "data.rows"])
def test_settings_that_change_no_number_are_hidden(key: str) -> None:
    rows = (HOUSES | {key: "one"}, FULL | {key: "other"})
    assert "other" not in shown(sweep_of(*rows))


def test_a_setting_of_only_some_runs_is_not_a_difference() -> None:
    """Optimizers have different settings, so only their names are compared."""
    assert "momentum" not in shown(sweep_of(HOUSES, FULL | {"optimizer.momentum": "0.9"}))


def test_a_sweep_without_runs_is_just_a_header() -> None:
    assert shown(sweep_of()).split() == ["run", "chunk", "lr", "epochs"]
