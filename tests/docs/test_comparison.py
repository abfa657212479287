"""The commands in docs/comparison.md work."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness import load_sweep
from tests.docs.pages import commands
from tests.warm import Warm


@pytest.mark.slow
def test_the_schedule_lasts_for_all_updates(tmp_path: Path, warm: Warm) -> None:
    (line,) = commands("comparison.md")
    assert warm.run(tmp_path, *shlex.split(line)[1:], seconds=120) == 0, (tmp_path / "log").read_text()
    (run,) = load_sweep("last", uri=f"sqlite:///{tmp_path}/mlflow.db").runs.to_dict("records")
    assert run["updates"] == run["optimizer.schedule.decay_steps"] == 50
