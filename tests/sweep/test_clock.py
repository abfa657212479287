"""If the clock is set forward or back, between or during commands, nothing is lost, duplicated or out of order."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.tracking.clock import Clock
from harness.tracking.outbox import new_outbox
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker
from tests.sweep.folders import Folder

YEAR = 365 * 86_400.0
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


def trained(folder: Folder, seed: int) -> tuple[str, dict]:
    """Train two runs; return the sweep's id, and the runs' numbers."""
    runs = folder.train([folder.config(chunk, epochs=3, seed=seed) for chunk in ("full", 100)])
    records = [MlflowClient(folder.uri).get_run(run.run_id) for run in runs]
    for record in records:
        assert record.info.status == "FINISHED"
        assert record.info.end_time >= record.info.start_time
    return runs[0].sweeps[0], folder.numbers(records)


@pytest.mark.parametrize("jumps", ["between", "within"])
@pytest.mark.slow
def test_a_sweep_under_a_clock_that_jumps(jumps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steady, jumping = Folder(tmp_path / "steady"), Folder(tmp_path / "jumping")
    expected = [trained(steady, seed)[1] for seed in range(3)]
    draw = random.Random(0)
    offsets = itertools.cycle([10 * YEAR, 0.0, -10 * YEAR])
    for seed in range(3):
        offset = next(offsets)
        monkeypatch.setattr(
            time, "time", lambda o=offset: real() + (o if jumps == "between" else draw.uniform(-YEAR, YEAR))
        )
        sweep_id, points = trained(jumping, seed)
        assert points == expected[seed]
        reader = RunReader(jumping.uri)
        assert reader.newest_sweep() == sweep_id
    assert len(reader.newest_sweeps(10)) == 3
    assert not list((jumping.path / "cache").glob("outbox/*"))
