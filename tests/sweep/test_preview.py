"""The output of `harness plan`, which leaves nothing behind but the table."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.sweep.display import Display
from harness.sweep.preview import preview
from tests.sweep.folders import Folder

WIDTH = 200


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr("harness.sweep.executor.choose_device", lambda runtime: ("/CPU:0", "CPU"))
    return Folder(tmp_path)


def said_of(folder: Folder, *configs, one_by_one: bool = False) -> list[str]:
    console = Console(file=StringIO(), width=WIDTH)
    preview(configs, Display(console), one_by_one=one_by_one)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_states_scans_and_estimates(folder: Folder) -> None:
    configs = [folder.config(100, epochs=1), folder.config(100, epochs=3), folder.config(500, rate=1e30)]
    configs.append(folder.config("full"))
    said = said_of(folder, *configs)
    assert "4 runs: 4 new" in said
    assert not (folder.path / "mlflow.db").exists()
    assert sorted(path.name for path in (folder.path / "cache").iterdir()) == ["locks", "tables"]
    folder.train([configs[0], configs[2]])
    before = folder.numbers()
    said = said_of(folder, *configs)
    assert "4 runs: 1 finished, 2 new, 1 diverged" in said
    rows = {line.split("  ")[0].strip(): line.split() for line in said if line}
    assert rows["chunk=100 lr=0.01 epochs=1"][3:] == ["finished", "32", "1.64", "kB"]
    assert rows["chunk=500 lr=1e+30 epochs=2"][3:] == ["diverged", "14", "8.04", "kB"]
    assert rows["full lr=0.01 epochs=2"][3:] == ["new", "2", "50.6", "kB"]
    assert any(
        re.fullmatch(r"scan 1: some.csv, 3,1\d\d training rows, 8\d\d holdout rows, 3 epochs", line) for line in said
    )
    (cohort,) = [" ".join(line.split()) for line in said if line.startswith("  chunk=100 linear")]
    assert re.fullmatch(r"chunk=100 linear adam mse 1 1 1 8 [\d.]+ [mµ]s", cohort)
    assert [line.split(":")[0] for line in said[-4:]] == ["time", "alone", "memory", "disk"]
    assert folder.numbers() == before
    assert len(folder.records("sweep")) == 1


def test_runs_that_are_trained_one_by_one_have_scans_of_their_own(folder: Folder) -> None:
    configs = [folder.config(100, epochs=1), folder.config("full"), folder.config(100, epochs=3)]
    folder.train([folder.config(100, rate=0.1)])
    said = said_of(folder, *configs, folder.config(100, rate=0.1), one_by_one=True)
    assert "This launcher trains each run on its own, one after another." in said
    assert [line.partition(",")[0] for line in said if line.startswith("scan")] == [
        "scans 1 to 2: some.csv",
        "scan 3: some.csv",
    ]
    assert [line.rpartition(", ")[2] for line in said if line.startswith("scan")] == ["1 or 3 epochs", "2 epochs"]
    cohorts = [line.split()[:8] for line in said if line.startswith(("  chunk", "  full"))]
    assert cohorts == [[chunk, "linear", "adam", "mse", "1", "1", "1", "8"] for chunk in ("chunk=100", "full")]


def test_models_of_different_sizes_are_estimated_separately(folder: Folder) -> None:
    sizes = [{"_target_": "harness.models.mlp", "units": [units]} for units in (4, 2000)]
    said = said_of(folder, *(folder.config(100, model=size) for size in sizes), one_by_one=True)
    assert [line.partition(",")[0] for line in said if line.startswith("scan")] == [
        "scan 1: some.csv",
        "scan 2: some.csv",
    ]


def test_finished_runs_need_no_scan(folder: Folder) -> None:
    folder.train([folder.config(epochs=1)])
    said = said_of(folder, folder.config(epochs=1))
    assert "1 run: 1 finished" in said
    assert not any(line.startswith(("scan", "time")) for line in said)


@pytest.mark.slow
def test_a_damaged_table_is_rebuilt(folder: Folder) -> None:
    configs = [folder.config(100, epochs=1), folder.config(500, epochs=1)]
    said_of(folder, *configs)
    (column,) = (folder.path / "cache" / "tables").glob("*/train.0.bin")
    before = column.read_bytes()
    column.write_bytes(bytes(len(before)))
    said = said_of(folder, *configs)
    assert sum(" Rebuilding it from " in line for line in said) == 1
    assert [line.split(":")[0] for line in said[-4:]] == ["time", "alone", "memory", "disk"]
    assert column.read_bytes() == before
