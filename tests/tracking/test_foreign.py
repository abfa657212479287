"""Runs that another program added to a sweep are left out, and do not break the commands that read the sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli.main import cli
from harness.errors import ConfigError
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker

PARAMS = {"chunksize": "10", "learning_rate": "0.1", "epochs": "2", "seed": "0", "data.split_seed": str(10**22)}
FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"learning_rate": "fast"}, "has the learning_rate 'fast'"),
    "nothing": ({"learning_rate": None}, "has no learning_rate"),
    "huge": ({"chunksize": "18446744073709551616"}, "has the chunksize '18446744073709551616'"),
    "part of a row": ({"chunksize": "1.5"}, "has the chunksize '1.5'"),
    "many": ({"epochs": "many"}, "has the epochs 'many'"),
    "early": ({"diverged_at": "early"}, "has the diverged_at 'early'"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A sweep of two runs and some foreign ones: ids by name, and `uri`."""
    ids = {"uri": f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"}
    with Tracker(ids["uri"], "question") as tracker:
        ids["sweep"] = tracker.start_run("sweep", {}, {"kind": "sweep"})
        for name in ("batch", "full", *FOREIGN):
            sample = "full" if name == "full" else "batch"
            tags = {"kind": "run", "sample": sample, "signature": name, "sweep": ids["sweep"]}
            params = PARAMS | ({"chunksize": "full"} if name == "full" else {})
            for key, value in FOREIGN.get(name, ({}, ""))[0].items():
                (tags if key == "diverged_at" else params)[key] = value
            ids[name] = tracker.start_run(name, {key: each for key, each in params.items() if each is not None}, tags)
            for epoch in (1, 2):
                axes = {"updates": epoch, "rows": epoch * 10, "time/train_s": 1.0}
                tracker.log(ids[name], {"val/loss": 1.0 / epoch, "memory/update_mb": 1.0, **axes}, epoch)
            tracker.end_run(ids[name], "FINISHED")
        tracker.end_run(ids["sweep"], "FINISHED")
    return ids


def sentence(store: dict[str, str], name: str) -> str:
    return f"Run {store[name]} is left out: it {FOREIGN[name][1]}, so it was not recorded by the harness."


def test_foreign_runs_are_left_out(store: dict[str, str]) -> None:
    sweep = RunReader(store["uri"]).load([store["sweep"]])
    assert sweep.runs["run_id"].tolist() == [store["batch"], store["full"]]
    assert sorted(sweep.left_out) == sorted(sentence(store, name) for name in FOREIGN)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_run_alone_is_refused(store: dict[str, str], name: str) -> None:
    with pytest.raises(ConfigError) as error:
        RunReader(store["uri"]).load([store[name]])
    assert str(error.value) == sentence(store, name)


@pytest.mark.parametrize(
    ("command", "is_said"),
    [
        (["compare"], True),
        (["compare", "--target", "0.7"], True),
        (["compare", "--markdown"], True),
        (["compare", "--csv"], False),
        (["compare", "--json"], False),
        (["sweeps"], False),
        (["report", "--output", "report"], False),
    ],
)
def test_commands_show_the_other_runs(
    store: dict[str, str], command: list[str], is_said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, [*command, "--uri", store["uri"]], catch_exceptions=False)
    assert result.exit_code == 0
    printed = " ".join(result.output.replace("\\", "").split())  # Markdown escapes some characters.
    assert (sentence(store, "text") in printed) == is_said
