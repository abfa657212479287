"""The command in processes that lack what processes usually have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("harness")
ROOT = Path(__file__).parents[2]
NO_ENTRY = """
import pwd
def unknown(user): raise KeyError(f"getpwuid(): uid not found: {user}")
pwd.getpwuid = pwd.getpwnam = unknown
"""
NAMES = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")


@pytest.mark.slow
def test_a_user_without_an_entry_in_the_user_database(tmp_path: Path) -> None:
    """As in containers that run under an arbitrary user id."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_ENTRY)
    environment = {key: value for key, value in os.environ.items() if key not in NAMES}
    environment["PYTHONPATH"] = f"{tmp_path / 'site'}{os.pathsep}{ROOT}"
    (tmp_path / "work").mkdir()
    for words in (["train", "-m", "data.rows=100", "epochs=1", "seed=1,2"], ["compare"]):
        answer = subprocess.run(
            [COMMAND, *words], cwd=tmp_path / "work", env=environment, capture_output=True, text=True
        )
        assert (answer.returncode, answer.stderr) == (0, "")
    assert not list(tmp_path.rglob("~*"))


@pytest.mark.slow
def test_a_temporary_folder_with_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a,b c=%41'd"
    folder.mkdir()
    environment = os.environ | {"TMPDIR": str(folder)}
    words = ["plan", "data.rows=100", "epochs=1"]
    answer = subprocess.run([COMMAND, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_working_folder_that_hydra_cannot_use(tmp_path: Path) -> None:
    folder = tmp_path / "a${b}"
    folder.mkdir()
    answer = subprocess.run([COMMAND, "train", "data.rows=100"], cwd=folder, capture_output=True, text=True)
    sentence = f"harness: Hydra does not work in {folder}: its path contains `${{`. Rename the folder.\n"
    assert (answer.returncode, answer.stderr) == (2, sentence)
    assert list(folder.iterdir()) == []
