"""Realistic files: the suggested command, as a sweep of four runs, and predictions for the same file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.data.profiling.describe import describe
from harness.tracking.reader import RunReader
from tests.cli.test_odd_files import CASES, GAPS, Case
from tests.cli.test_quoting import in_bash
from tests.warm import Warm

# One of each kind; `test_odd_files` reads all of them.
NAMES = [
    "eu.csv",
    "homes.tsv",
    "houses (1).csv",
    "space.data",
    "comments.csv",
    "footer.csv",
    "trailing.csv",
    "latin1.csv",
    "nohead.csv",
    "thousands.csv",
    "dollars.csv",
    "question.csv",
    "nacat.csv",
    "bools.csv",
    "bool.parquet",
    "homes.jsonl",
    "isodate.csv",
    "usdate.csv",
    "label12.csv",
    "yes_target.csv",
]
GRID = ["chunksize=full,10", "learning_rate=0.1,0.01", "epochs=2", "runtime.time_alone=false"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of all commands."""
    return tmp_path_factory.mktemp("work")


def expected(names: Sequence[str], frame: pd.DataFrame, metrics: dict[str, float], *, is_label: bool) -> np.ndarray:
    """Return the predictions of a linear model for rows that pandas has read, float64 `[rows]`.

    `names` are the names of the data frame's columns in the file.
    """
    found = np.full(len(frame), metrics["intercept"])
    for name, (_, column) in list(zip(names, frame.items(), strict=True))[:-1]:
        if column.dtype.kind in "ifb":
            found += metrics[f"weight/{name}"] * column.to_numpy(float)
        else:
            found += [metrics[f"weight/{name}/{word}"] for word in column]
    return 1 / (1 + np.exp(-found)) if is_label else found


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case.name in NAMES], ids=lambda case: case.name)
def test_a_sweep_and_its_predictions_are_right(warm: Warm, folder: Path, case: Case) -> None:
    path, log = folder / case.name, folder / "log"
    path.write_bytes(case.content.encode() if isinstance(case.content, str) else case.content)
    found = describe(str(path))
    command, names = found.command, [column.name for column in found.columns]
    words = [*in_bash(command)[1:], "-m", *GRID, f'tracking.experiment="{case.name}"', "runtime.rerun=true"]
    log.unlink(missing_ok=True)
    assert warm.run(folder, *words) == 0, log.read_text()
    assert warm.run(folder, "predict", "best", str(path), "--output", "predicted.csv") == 0, log.read_text()
    reader = RunReader(f"sqlite:///{folder}/mlflow.db")
    (_, runs), *_ = reader.sweeps(1)
    assert len(runs) == 4
    (best,) = (run for run in runs if run.outputs and run.outputs.model_outputs)
    predicted = pd.read_csv(folder / "predicted.csv").iloc[:, -1]
    wanted = expected(names, case.frame, best.data.metrics, is_label="binary" in command)
    known = case.frame.notna().all(axis=1).to_numpy()
    assert len(predicted) == len(wanted)
    assert known.all() or case.frame is GAPS
    np.testing.assert_allclose(predicted[known], wanted[known], rtol=2e-5)
    # An empty field counts as the training mean.
    assert predicted.notna().all()
