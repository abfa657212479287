"""The wheel, installed in a new environment and folder, as a new user would do."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ["data.rows=300", "epochs=1", "tracking.log_model=none"]


def checked(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in a new environment with the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    checked(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT, cwd=folder)
    checked(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    checked(*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.with_name("harness")


def statuses(folder: Path, experiment: str) -> list[str]:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    return [run.info.status for run in client.search_runs([found.experiment_id])]


def test_the_wheel_trains_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    done = checked(installed, "train", "-m", "chunksize=full,100", *SMALL, cwd=tmp_path)
    assert "Each chunksize vs. the full sample" in done.stdout
    assert statuses(tmp_path, "harness") == ["FINISHED"] * 3  # With the summary.
    code = "import harness; print(harness.__file__); print(len(harness.load_sweep().runs))"
    where, runs = checked(installed.with_name("python"), "-c", code, cwd=tmp_path).stdout.split()
    assert (Path(where).is_relative_to(installed.parents[1]), runs) == (True, "2")


MODEL = """
from harness.models import linear


def build_model(inputs):
    return linear(inputs, init=0.2)
"""
EXPERIMENT = """# @package _global_
defaults:
  - override /model: custom

model:
  _target_: experiments.mine.build_model
"""


@pytest.mark.parametrize(("conf", "options"), [("conf", []), ("other", ["--config-dir", "other"])])
def test_experiments_are_found_in_the_users_folder(
    installed: Path, tmp_path: Path, conf: str, options: list[str]
) -> None:
    (tmp_path / conf / "experiment").mkdir(parents=True)
    (tmp_path / conf / "experiment" / "mine.yaml").write_text(EXPERIMENT)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.py").write_text(MODEL)
    checked(installed, "train", *options, "experiment=mine", *SMALL, cwd=tmp_path)
    assert statuses(tmp_path, "mine") == ["FINISHED"]
