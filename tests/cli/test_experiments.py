"""Every experiment at a small size through the real command, and the commands of the README."""

from __future__ import annotations

import re
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
def test_every_experiment_runs_at_a_small_size(name, tmp_path):
    harness(f"train experiment={name} data.rows=300 chunksize=50 epochs=1", tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"]
    assert found[0].data.metrics["updates"] == -(-found[0].data.metrics["rows"] // 50)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_docstring_states_the_command(name):
    text = (ROOT / f"experiments/{name}.py").read_text()
    assert f"harness train experiment={name}" in text


def test_readme_shows_the_table_that_make_sweep_prints():
    text = (ROOT / "README.md").read_text()
    header = re.search(r"^chunk +lr epochs +updates", text, re.MULTILINE)
    assert header
    assert len(re.findall(r"^ *(full|1000|100) +0\.\d+ +\d+ ", text, re.MULTILINE)) == 24


@pytest.mark.slow
def test_readme_commands_run(tmp_path):
    """All complete `harness` commands of the README, in order, in a separate folder."""
    lines = re.findall(r"^harness (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(lines) >= 6
    (tmp_path / "FILE").write_text("a,b,c\n" + "".join(f"{i},{i % 7},{2 * i + i % 7}\n" for i in range(203)))
    for line in lines:
        harness(line.replace("--rows 1e8", "--rows 1e4"), tmp_path)
