"""The real command on a small version of every experiment."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))


def harness(words: str, folder: Path) -> str:
    command = [str(Path(sys.executable).with_name("harness")), *shlex.split(words, comments=True)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.slow
def test_every_experiment_runs_at_a_small_size(name, tmp_path):
    few = "data.rows=300" if name == "house_prices" else "data.holdout=0.8"
    harness(f"train experiment={name} {few} chunksize=50 epochs=1", tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"]
    assert found[0].data.metrics["updates"] == -(-found[0].data.metrics["rows"] // 50)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_docstring_states_the_command(name):
    text = (ROOT / f"experiments/{name}.py").read_text()
    assert f"harness train experiment={name}" in text
