"""Runs are referred to by a prefix of an id, `last` or `best`, listed, and compared in pairs."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow.entities import Metric, RunData
from rich.console import Console

from harness.analysis.best_run import run_ids
from harness.cli.diff import _results, diff
from harness.cli.main import cli
from harness.errors import ConfigError
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker

Ids = dict[str, str]


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> Ids:
    """A sweep of two runs, one of which diverged, and two single runs, one of which was interrupted."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    found = {"uri": uri}
    with Tracker(uri, "question") as tracker:
        found["sweep"] = tracker.start_run("first try", {}, {"kind": "sweep"})
        tracker.end_run(found["sweep"], "FINISHED")
        for name, rate, features in (("slow", 0.1, "[a,b]"), ("fast", 9.0, "[a,b]"), ("single", 0.1, "[a,b,c]")):
            params = {"chunksize": "4", "learning_rate": rate, "epochs": 1, "data.features": features}
            tags = {"kind": "run", "sample": "batch", "command": f"harness train learning_rate={rate:g}"}
            tags |= {} if name == "single" else {"sweep": found["sweep"]}
            run_id = found[name] = tracker.start_run(name, params, tags)
            if name == "fast":
                tracker.tag(run_id, {"diverged_at": "3"})
            else:
                tracker.log(run_id, {"val/loss": 0.5 if name == "slow" else 0.25, "updates": 8}, 1)
            tracker.log_text(run_id, f"numpy=={2 if name == 'single' else 1}\nkeras==3\n", "packages.txt")
            tracker.end_run(run_id, "FAILED" if name == "fast" else "FINISHED")
        found["stopped"] = tracker.start_run(
            "stopped", {}, {"kind": "run", "sample": "batch", "command": "harness train x=1"}
        )
        tracker.end_run(found["stopped"], "KILLED")
    return found


@pytest.fixture
def records(ids: Ids) -> RunReader:
    return RunReader(ids["uri"])


def invoke(ids: Ids, *words: str) -> str:
    done = CliRunner().invoke(cli, [*words, "--uri", ids["uri"]], catch_exceptions=False, standalone_mode=False)
    return done.output


def test_the_beginning_of_an_id_is_enough(records: RunReader, ids: Ids) -> None:
    unique = next(n for n in range(1, 33) if sum(each.startswith(ids["slow"][:n]) for each in ids.values()) == 1)
    for length in (unique, 12, 32):
        assert records.run(ids["slow"][:length]).info.run_id == ids["slow"]
    assert len(records.load([ids["sweep"][:12], ids["single"][:12]]).runs) == 3


def test_last_and_best_stand_for_runs(records: RunReader, ids: Ids) -> None:
    assert records.run("last").info.run_id == ids["stopped"]
    assert run_ids(records, ["best", "last", "ab"]) == [ids["slow"], "last", "ab"]


@pytest.mark.parametrize("command", ["predict", "reproduce", "compare", "diff", "register"])
def test_help_explains_best(command: str) -> None:
    assert "`best` is the best run of the newest sweep" in " ".join(
        CliRunner().invoke(cli, [command, "-h"]).output.split()
    )


def test_a_beginning_of_several_ids_is_refused(tmp_path: Path) -> None:
    with Tracker(f"sqlite:///{tmp_path}/mlflow.db", "question") as tracker:
        runs = tracker.start_runs([(f"run {n}", {}, {"kind": "run", "sample": "batch"}) for n in range(17)])
    first = next(each[0] for each in runs if sum(other[0] == each[0] for other in runs) > 1)
    with pytest.raises(ConfigError, match=rf"Several ids begin with {first}: {first}.* \(run \d+\), "):
        RunReader(tracker.uri).run(first)


def test_runs_are_listed_with_how_they_ended(ids: Ids) -> None:
    lines = [line.split() for line in invoke(ids, "runs").splitlines()]
    assert lines[0] == ["run", "age", "state", "result", "model", "sweep", "name"]
    states = {line[-1]: line[3] for line in lines[1:5]}
    assert states == {"stopped": "interrupted", "single": "finished", "fast": "diverged", "slow": "finished"}
    assert lines[4][0] == ids["slow"][:8]
    assert lines[4][4:] == ["val/loss", "0.5", "-", ids["sweep"][:8], "slow"]
    assert " ".join(lines[5]) == f"To resume {ids['stopped'][:8]}: harness train x=1"


def test_lists_can_be_written_as_csv(ids: Ids) -> None:
    runs = pd.read_csv(io.StringIO(invoke(ids, "runs", "--csv")))
    assert runs["run_id"].tolist() == [ids[name] for name in ("stopped", "single", "fast", "slow")]
    assert runs["state"].tolist() == ["interrupted", "finished", "diverged", "finished"]
    sweeps = pd.read_csv(io.StringIO(invoke(ids, "sweeps", "--csv"))).to_dict("records")
    assert [(each["sweep"], each["best_id"], each["result"]) for each in sweeps] == [(ids["sweep"], ids["slow"], 0.5)]
    assert [sweeps[0][name] for name in ("runs", "finished", "diverged", "failed")] == [2, 1, 1, 0]


def test_two_runs_of_different_features_keep_their_results(ids: Ids) -> None:
    text = invoke(ids, "compare", ids["slow"][:12], ids["single"][:12])
    assert [line.split()[:7] for line in text.splitlines()[2:4]] == [
        [ids["single"][:8], "4", "0.1", "1", "[a,b,c]", "8", "0.25"],
        [ids["slow"][:8], "4", "0.1", "1", "[a,b]", "8", "0.5"],
    ]


def test_a_diff_shows_what_differs(records: RunReader, ids: Ids) -> None:
    console = Console(file=io.StringIO(), width=100)
    diff(records, [ids["slow"], ids["single"]], console)
    slow, single = ids["slow"][:8], ids["single"][:8]
    assert [line.split() for line in console.file.getvalue().splitlines() if line.strip()] == [  # type: ignore[attr-defined]
        [slow, "slow,", "finished"],
        [single, "single,", "finished"],
        ["configuration", slow, single],
        ["data.features", "[a,b]", "[a,b,c]"],
        ["packages", slow, single],
        ["numpy", "1", "2"],
        ["results", slow, single],
        ["val/loss", "0.5", "0.25"],
        ["No", "differences:", "data,", "code."],
    ]


def test_results_that_differ_in_the_last_digit_are_different() -> None:
    runs = [SimpleNamespace(data=RunData(metrics=[Metric("val/loss", value, 0, 0)])) for value in (0.5, 0.5 + 2**-52)]
    assert [*_results(*runs)] == [("val/loss", "0.5", "0.50000000000000022")]
    nan = SimpleNamespace(data=RunData(metrics=[Metric("val/loss", float("nan"), 0, 0)]))
    assert [*_results(nan, nan)] == []


def test_a_sweep_is_described_in_a_notebook(records: RunReader, ids: Ids) -> None:
    sweep = records.load([ids["sweep"]])
    assert repr(sweep) == f"<Sweep {ids['sweep'][:8]} 'first try': 1 finished, 1 diverged; 1 points in .curves>"
    assert sweep.table["state"].tolist() == ["finished", "diverged"]
    page = sweep._repr_html_()
    assert f"<th>{ids['slow'][:8]}</th>" in page
    assert page.count("<tr") == 4
