"""If the clock is set forward or back, between or during commands, nothing is lost, duplicated or out of order."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from harness.config import Config, DataConfig, Loss, RuntimeConfig, TrackingConfig
from harness.sweep.display import Display
from harness.sweep.runner import train
from harness.tracking.clock import Clock
from harness.tracking.outbox import new_outbox
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker

YEAR = 365 * 86_400.0
TIMES = ("time/", "rows_per_second", "system/", "memory/")
real = time.time


def test_times_never_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5.0, 7.0, 6.0, 1.0, 1.0, 9.0])
    monkeypatch.setattr(time, "time", lambda: next(times))
    clock = Clock(latest=5500)
    assert [clock.now(), clock.now(), clock.now(), clock.after(3), clock.now(), clock.now()] == [
        *(5500, 7000, 7000, 7003, 7003, 9000)
    ]


@pytest.mark.parametrize("tags", [{}, {"kind": "run"}])
def test_a_run_with_an_impossible_time_does_no_harm(tmp_path: Path, tags: dict[str, str]) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with Tracker(uri, "q") as tracker:
        MlflowClient(uri).create_run(tracker.experiment_id, start_time=10**15, tags=tags)  # In microseconds.
    with Tracker(uri, "q", tmp_path / "outbox") as tracker:
        run_id = tracker.start_run("a", {}, {"kind": "run"})
        tracker.log(run_id, {"loss": 0.5}, 1)
        tracker.end_run(run_id, "FINISHED")
    run = MlflowClient(uri).get_run(run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 0.5})
    assert abs(run.info.start_time / 1000 - real()) < 3600


def test_outboxes_are_delivered_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for seconds in (10, 10 * YEAR, 5):
        monkeypatch.setattr(time, "time_ns", lambda now=seconds: int(now * 1e9))
        outbox = new_outbox(tmp_path, "store")
        outbox.append({"kind": "tags", "run": str(seconds), "values": {}})
        outbox.close()
        made.append(outbox.path)
    assert sorted(tmp_path.glob("*.jsonl"), key=lambda path: path.stem.rpartition("-")[2]) == made


def trained(folder: Path, seed: int) -> tuple[str, dict]:
    """Train two runs; return the sweep's id and the runs' points except times and memory, by chunksize and metric."""
    configs = [
        Config(
            chunksize=chunk,
            learning_rate=0.01,
            epochs=3,
            seed=seed,
            loss=Loss.mse,
            data=DataConfig(["x"], "y", str(folder / "some.csv")),
            model={"_target_": "harness.models.linear", "init": 0.1},
            optimizer={"name": "adam"},
            tracking=TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db"),
            runtime=RuntimeConfig(cache=str(folder / "cache")),
        )
        for chunk in ("full", 100)
    ]
    runs = train(configs, Display(Console(file=StringIO())), command="harness train", folder=folder / f"sweep {seed}")
    client, points = MlflowClient(f"sqlite:///{folder}/mlflow.db"), {}
    for run in runs:
        record = client.get_run(run.run_id)
        assert record.info.status == "FINISHED"
        assert record.info.end_time >= record.info.start_time
        for key in record.data.metrics:
            history = [(point.step, point.value) for point in client.get_metric_history(run.run_id, key)]
            assert max(Counter(step for step, _ in history).values()) == 1
            if not key.startswith(TIMES):
                points[run.config.chunksize, key] = sorted(history)
    return runs[0].sweeps[0], points


@pytest.mark.parametrize("jumps", ["between", "within"])
@pytest.mark.slow
def test_a_sweep_under_a_clock_that_jumps(jumps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("steady", "jumping"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "some.csv").write_text("x,y\n" + "".join(f"{i % 97},{3 * (i % 97)}\n" for i in range(1000)))
    expected = [trained(tmp_path / "steady", seed)[1] for seed in range(3)]
    draw = random.Random(0)
    offsets = itertools.cycle([10 * YEAR, 0.0, -10 * YEAR])
    for seed in range(3):
        offset = next(offsets)
        monkeypatch.setattr(
            time, "time", lambda o=offset: real() + (o if jumps == "between" else draw.uniform(-YEAR, YEAR))
        )
        sweep_id, points = trained(tmp_path / "jumping", seed)
        assert points == expected[seed]
        reader = RunReader(f"sqlite:///{tmp_path}/jumping/mlflow.db")
        assert reader.newest_sweep() == sweep_id
    assert len(reader.newest_sweeps(10)) == 3
    assert not list((tmp_path / "jumping" / "cache").glob("outbox/*"))
