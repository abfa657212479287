"""The lesson's loop and the harness give the same numbers, which are those on the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.data.synthetic_houses import generate
from tests.docs.pages import blocks, commands
from tests.warm import Warm


@pytest.fixture(params=["synthetic", pytest.param("real", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kc_house_data.csv"
    if request.param == "real":
        path.symlink_to(request.getfixturevalue("king_county"))
    else:
        generate(path, rows=1017)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(warm: Warm, folder: Path, lines: list[str]) -> None:
    """Run the commands one after another, in a process that imports TensorFlow only once."""
    statuses = [warm.run(folder, *line.split()[1:], seconds=120) for line in lines]
    assert statuses == [0, 0], (folder / "log").read_text()


@pytest.mark.slow
def test_the_loop_and_the_harness_agree(folder: Path, warm: Warm, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict = {}
    exec(compile("\n".join(blocks("lesson.md", "python")), "lesson.md", "exec"), names)
    if (folder / "kc_house_data.csv").is_symlink():
        assert capsys.readouterr().out == blocks("lesson.md", "text")[0]
    train(warm, folder, commands("lesson.md")[:2])
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("harness")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    found = {run.data.params["chunksize"]: run.data.metrics for run in runs}
    for chunksize, (loss, intercept, slope, updates) in names["runs"].items():
        metrics = found[chunksize]
        assert metrics["updates"] == updates
        values = [metrics[key] for key in ("train/loss", "intercept", "slope")]
        assert values == pytest.approx([loss, intercept, slope], rel=1e-5)
