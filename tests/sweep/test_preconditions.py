"""On a GPU, workers are rejected if they would wait for each other, or if results would differ; their tiles."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from harness.config import RuntimeConfig
from harness.config.launchers import WorkersConfig
from harness.errors import ConfigError
from harness.sweep.display import Display
from harness.sweep.executor import LocalExecutor
from harness.sweep.runner import Sweep
from harness.sweep.tasks.cluster import Workers
from tests.sweep.folders import config

ELSEWHERE: Any = SimpleNamespace(is_remote=True, close=lambda: None)
WORKER = {"membership": SimpleNamespace(sweep_id="a sweep")}


@pytest.mark.parametrize(
    ("place", "lane_tile", "refusal"),
    [
        ({"cluster": Workers(WorkersConfig())}, 8, "Use the default launcher or runtime.device=cpu"),
        ({"cluster": ELSEWHERE}, None, "On GPUs, workers need runtime.lane_tile"),
        (WORKER, None, "On GPUs, workers need runtime.lane_tile"),
        ({"cluster": ELSEWHERE}, 8, "no such file"),
    ],
)
def test_workers_on_gpus(
    place: dict[str, Any], lane_tile: int | None, refusal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = LocalExecutor("/GPU:0", "GPU (a card)")
    monkeypatch.setattr("harness.sweep.runner.choose_executor", lambda runtime, **_: gpu)
    with pytest.raises(ConfigError, match=refusal):
        train(tmp_path, lane_tile, **place)


@pytest.mark.parametrize(
    ("place", "used"), [({}, True), ({"cluster": Workers(WorkersConfig())}, False), (WORKER, False)]
)
def test_workers_do_not_use_measured_tiles(
    place: dict[str, Any], used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def choose(runtime: RuntimeConfig, *, measured: bool) -> LocalExecutor:
        asked.append(measured)
        return LocalExecutor("/CPU:0", "CPU")

    monkeypatch.setattr("harness.sweep.runner.choose_executor", choose)
    with pytest.raises(ConfigError, match="no such file"):
        train(tmp_path, None, **place)
    assert asked == [used]


def train(folder: Path, lane_tile: int | None, **place: Any) -> None:
    """Train a configuration without data."""
    one = config(folder, runtime={"lane_tile": lane_tile}, tracking={"uri": "http://127.0.0.1:9"})
    with Sweep(Display(Console(file=StringIO())), command="harness train -m ...", folder=folder, **place) as sweep:
        sweep.train([one])
