"""The examples of `extending.md`: the page's changes, made in a copy of the project, and its commands."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import ROOT
from tests.docs.pages import blocks, commands
from tests.warm import Warm

PAGE = "extending.md"
LINES = 15


def write_modules(folder: Path) -> None:
    """Write each Python block to the file named in its first line."""
    for block in blocks(PAGE, "python"):
        name = block.splitlines()[0].removeprefix("# ")
        (folder / name).write_text(block)


def apply(diff: str, folder: Path) -> None:
    """Make the changes of a diff without line numbers: a changed line follows the unchanged or removed one above it."""
    path, lines, at = folder, [], 0
    for line in diff.splitlines():
        if line.startswith("--- "):
            path = folder / line[4:]
            lines, at = path.read_text().splitlines() if path.exists() else [], 0
        elif line.startswith("+"):
            lines.insert(at, line[1:])
            at += 1
        else:
            at = lines.index(line[1:], at)
            if line.startswith("-"):
                del lines[at]
            else:
                at += 1
        path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name in ("harness", "hydra_plugins", "experiments", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_modules(folder)
    shutil.copy(folder / "wide.py", folder / "experiments")
    (folder / "conf/experiment/wide.yaml").write_text(blocks(PAGE, "yaml")[0])
    for diff in blocks(PAGE, "diff"):
        apply(diff, folder)
    rows = [{"x": x, "y": 2 * x + 1} for x in range(500)]
    pd.DataFrame(rows).to_stata(folder / "rows.dta", write_index=False)
    return folder


@pytest.mark.slow
def test_the_examples_train(project: Path) -> None:
    lines = commands(PAGE)
    with closing(Warm(project)) as warm:
        statuses = [warm.run(project, *line.split()[1:], seconds=120) for line in lines]
    assert statuses == [0] * len(lines), (project / "log").read_text()
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    params = [run.data.params for run in runs]
    assert len(params) == len(lines) == 5
    assert {each["model._target_"] for each in params} == {
        "wide.build_model",
        "experiments.wide.build_model",
        "harness.models.linear",
    }
    assert {each["loss"] for each in params} == {"log_cosh", "mse"}
    assert {each["optimizer.name"] for each in params} == {"adam", "sign_sgd"}
    assert {each["data.target"] for each in params} == {"price", "y"}


def test_an_example_is_short() -> None:
    for block in [*blocks(PAGE, "python"), *blocks(PAGE, "diff")]:
        code = [line for line in block.splitlines() if line.strip() and not line.startswith(("#", "import ", "from "))]
        assert len(code) <= LINES
