"""Reading single sweeps from a store of ten thousand runs."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import harness
from harness.tracking.tracker import Tracker

SWEEPS, CHUNKS, RATES, EPOCHS = 100, ["full", "1000", "100", "10", "1"], 20, 10
RUNS = len(CHUNKS) * RATES
METRICS = ["train/loss", "val/loss", "val/rmse", "updates", "rows", "time/train_s"]
COMMAND = Path(sys.executable).with_name("harness")
pytestmark = pytest.mark.slow


def value(metric: str, sweep: int, chunk: int, rate: int, epoch: int) -> float:
    """A loss for each run and epoch: `1 + rate` after a full-sample run's last epoch, and less for batch runs."""
    if metric == "updates":
        return epoch * 10.0**chunk
    if metric in ("rows", "time/train_s"):
        return epoch * (1000.0 if metric == "rows" else 0.5)
    return 1 + rate - 0.1 * chunk + sweep / 1000 + (EPOCHS - epoch)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The store's address and the ids of its sweeps, oldest first; written without MLflow, which would take minutes."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder}/mlflow.db"
    with Tracker(uri, "harness") as tracker:
        experiment = tracker.experiment_id
    ids = [f"{sweep:08x}{0:024x}" for sweep in range(1, SWEEPS + 1)]
    runs, tags, params, metrics = [], [], [], []

    def add(run_id: str, name: str, start: int, of_run: dict[str, str]) -> None:
        runs.append((run_id, name, "LOCAL", "", "", "me", "FINISHED", start, start + 1, "", "active", "", experiment))
        tags.extend((key, text, run_id) for key, text in of_run.items())

    for sweep, sweep_id in enumerate(ids):
        add(sweep_id, f"sweep {sweep}", sweep * 1000, {"kind": "sweep", "command": "harness train -m ..."})
        for number in range(RUNS):
            chunk, rate = number % len(CHUNKS), number // len(CHUNKS)
            run_id = f"{'f' * 16}{sweep:08x}{number:08x}"
            sample = "batch" if chunk else "full"
            # Every tenth run belongs to the next sweep as well.
            both = f"{sweep_id},{ids[(sweep + 1) % SWEEPS]}" if number % 10 == 9 else sweep_id
            about = {
                "kind": "run",
                "sample": sample,
                "sweep": both,
                "signature": run_id[:16],
                "command": "harness train",
            }
            add(run_id, f"{CHUNKS[chunk]} {rate}", sweep * 1000 + 1 + number, about)
            own = {
                "chunksize": CHUNKS[chunk],
                "learning_rate": str((rate + 1) / 100),
                "epochs": str(EPOCHS),
                "seed": "0",
            }
            own |= {"loss": "mse", "data.features": "[x]", "data.target": "y"}
            own |= {f"optimizer.setting_{index}": "0.9" for index in range(15)}
            params.extend((key, text, run_id) for key, text in own.items())
            metrics.extend(
                (key, value(key, sweep, chunk, rate, epoch), epoch, run_id, epoch, 0)
                for key in METRICS
                for epoch in range(1, EPOCHS + 1)
            )
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            f" end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) VALUES ({','.join('?' * 13)})",
            runs,
        )
        database.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?,?,?)", tags)
        database.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?,?,?)", params)
        database.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?,?,?,?,?,?)", metrics
        )
        last = [metric for metric in metrics if metric[4] == EPOCHS]
        database.executemany(
            "INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?,?,?,?,?,?)", last
        )
    with Tracker(uri, "harness"):
        pass  # It optimizes the store, as each sweep does.
    return uri, ids


def test_compare_shows_a_sweep_of_a_hundred_runs(store: tuple[str, list[str]]) -> None:
    uri, ids = store
    answer = subprocess.run(
        [COMMAND, "compare", "--uri", uri, "--json", ids[50]], capture_output=True, text=True, check=True
    )
    found = json.loads(answer.stdout)
    # Its own runs, and those that it shares with the previous sweep.
    assert len(found["runs"]) == RUNS + RUNS // 10
    own = [run for run in found["runs"] if run["run_id"].startswith(f"{'f' * 16}{50:08x}")]
    assert len(own) == RUNS
    same_epochs = [each for each in found["full_against_batch"] if each["axis"] == "epochs"]
    batches = len(CHUNKS) - 1
    assert len(same_epochs) == RATES * batches
    for number, each in enumerate(sorted(same_epochs, key=lambda each: each["setting"]["learning_rate"])):
        assert each["better"] == "batch"
        assert each["full"] == pytest.approx(value("val/loss", 50, 0, number // batches, EPOCHS))


def test_a_sweeps_curves_are_whole(store: tuple[str, list[str]]) -> None:
    uri, ids = store
    sweep = harness.load_sweep(ids[0], uri)
    assert len(sweep.runs) == RUNS + RUNS // 10  # The first sweep shares runs with the last one.
    curves = sweep.curves[sweep.curves["metric"] == "val/loss"]
    assert len(curves) == len(sweep.runs) * EPOCHS
    point = curves[(curves["run_id"] == f"{'f' * 16}{0:08x}{7:08x}") & (curves["step"] == 3)].iloc[0]
    assert point["value"] == pytest.approx(value("val/loss", 0, 2, 1, 3))
    assert (point["updates"], point["rows"], point["seconds"]) == (300, 3000, 1.5)


def test_sweeps_lists_the_newest(store: tuple[str, list[str]]) -> None:
    uri, ids = store
    answer = subprocess.run(
        [COMMAND, "sweeps", "--uri", uri, "--limit", "3"], capture_output=True, text=True, check=True
    )
    _, *lines = answer.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [sweep[:8] for sweep in ids[:-4:-1]]
    assert all(f"{RUNS + RUNS // 10} finished" in line for line in lines)
