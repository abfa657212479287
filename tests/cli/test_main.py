"""The command as seen by users: its exit code, its output, and what it leaves in the store and on disk.

Most tests call it in this process, so that TensorFlow is loaded once; a few run the real command.
"""

from __future__ import annotations

import io
import json
import logging.config
import math
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf

from harness.analysis.comparison import NO_COMMON_TIME
from harness.cli import main
from harness.cli.register import register
from harness.config.metrics import best_key, is_best_value
from harness.errors import ConfigError
from harness.runtime.signals import STOPPING
from harness.tracking._compat_views import addresses
from harness.tracking.pages import run_page
from harness.tracking.reader import RunReader
from harness.tracking.recorded_config import schema_of
from harness.tracking.run_colour import colour
from tests.tables import held_out

# Thirteen rows, ten of them to train on: chunks of four leave a remainder of two.
X = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
Y = np.array([5.5, 6.5, 9.25, 11, 13.5, 14.5, 17.25, 19, 21.5, 22.5, 25.25, 27, 29.5])
CSV = "x,y\n" + "".join(f"{x},{y}\n" for x, y in zip(X, Y, strict=True))
HELD_OUT = held_out(0, len(X), 0.2, 0)
ROWS, CHUNK = 10, 4
DATA = ["data=csv", "data.path=small.csv", "data.features=[x]", "data.target=y"]
GRID = ["chunksize=full,4", "learning_rate=0.1,1e30", "epochs=2,3"]
UPDATES = {"full": 1, "4": 3}  # an epoch
COMMAND = Path(sys.executable).with_name("harness")


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "HYDRA_", "COLUMNS"))}


def command(folder: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    """Start the real command in a folder."""
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([COMMAND, *words], cwd=folder, env=environment(), **pipes | options)


@dataclass(frozen=True)
class Answer:
    """The result of a call."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Left:
    """The records and files of a sweep."""

    folder: Path
    places: list[str]  # in the folder, before anyone reads the store
    answer: Answer
    client: MlflowClient
    summary: Run
    runs: dict[tuple[str, str, str], Run]  # by chunksize, learning rate and epochs

    def curve(self, run: Run, key: str) -> dict[int, float]:
        return {point.step: point.value for point in self.client.get_metric_history(run.info.run_id, key)}

    def order(self, run: Run) -> int:
        """The run's position in the sweep."""
        return list(self.runs.values()).index(run)

    @property
    def said(self) -> list[str]:
        """The lines other than progress, which only slow machines print."""
        passing = ("start", "compiling", "training", "reading", "generating")
        return [line for line in self.answer.out.splitlines() if not line.startswith(passing)]

    @property
    def finished(self) -> dict[tuple[str, str, str], Run]:
        return {key: run for key, run in self.runs.items() if key[1] == "0.1"}

    @property
    def diverged(self) -> dict[tuple[str, str, str], Run]:
        return {key: run for key, run in self.runs.items() if key[1] == "1e+30"}

    @property
    def best(self) -> Run:
        return min(self.finished.values(), key=lambda run: run.data.metrics["val/loss"])


def stored(folder: Path) -> list[Run]:
    """All runs of the store in a folder, oldest first; none if there is no store."""
    if not (folder / "mlflow.db").exists():
        return []
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, order_by=["attributes.start_time ASC"], max_results=1000))


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """The real command on a sweep of eight runs, four of which diverge."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "small.csv").write_text(CSV)
    process = command(folder, "train", "-m", *DATA, *GRID)
    out, err = process.communicate(timeout=300)
    places = sorted(path.name for path in folder.iterdir())
    summary, *runs = stored(folder)
    by_key = {tuple(run.data.params[key] for key in ("chunksize", "learning_rate", "epochs")): run for run in runs}
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return Left(folder, places, Answer(process.returncode, out, err), client, summary, by_key)  # type: ignore[arg-type]


def test_failed_runs_set_the_exit_code(left: Left) -> None:
    assert left.answer.code == 1


def test_each_failure_is_reported_in_one_line(left: Left) -> None:
    assert left.answer.err.splitlines() == [
        f"failed: {name} lr=1e+30 epochs={epochs}: diverged at update 2"
        for name in ("full", "chunk=4")
        for epochs in (2, 3)
    ]


def test_the_output_shows_device_store_and_results(left: Left) -> None:
    device, store, *table, space, next_step = left.said
    assert device.startswith("device: ")
    assert store == f"store:  sqlite:///{left.folder}/mlflow.db, experiment harness"
    rows = [line.split() for line in table[2:10]]
    losses = {key: run.data.metrics["val/loss"] for key, run in left.finished.items()}
    assert [tuple(row[1:4]) for row in rows[:4]] == sorted(losses, key=losses.__getitem__)
    assert [row[6] for row in rows[:4]] == [f"{loss:.4g}" for loss in sorted(losses.values())]
    assert sorted(row[1:5] for row in rows[4:]) == sorted(
        [chunksize, "1e+30", epochs, "diverged"] for chunksize in ("4", "full") for epochs in ("2", "3")
    )
    assert table[10] == ""
    best = [line.split(":")[0] for line in table[11:13]]
    assert best == ["Best batch run (chunks of 4 rows)", "Best full-sample run"]
    assert table[13].startswith("The best of 2 batch runs and 2 full-sample runs are chosen by the val/loss shown,")
    assert table[14].startswith(
        "alone s is a run's number of updates times the time of one update, measured on its own"
    )
    assert table[16] == "Each chunksize vs. the full sample, val/loss (* better):"
    better = {
        epochs: "full" if losses["full", "0.1", epochs] < losses["4", "0.1", epochs] else "batch" for epochs in "23"
    }
    for epochs, line in zip("23", table[20:22], strict=True):
        chunk, rate, count, *pair = line.split()[:5]
        assert (chunk, rate, count) == ("4", "0.1", epochs)
        assert [cell.endswith("*") for cell in pair] == [better[epochs] == "full", better[epochs] == "batch"]
    # Which of them is better, or whether either can be compared, depends on measured times.
    assert table[-1].startswith(("After the same training time, measured alone and scaled, ", NO_COMMON_TIME))
    assert space == ""
    assert next_step.startswith("Sweep ")


def test_each_configuration_has_a_run_and_the_sweep_a_summary(left: Left) -> None:
    assert sorted(left.runs) == sorted(
        (chunksize, rate, epochs) for chunksize in ("4", "full") for rate in ("0.1", "1e+30") for epochs in ("2", "3")
    )
    assert {run.info.experiment_id for run in left.runs.values()} == {left.summary.info.experiment_id}
    assert left.client.get_experiment(left.summary.info.experiment_id).name == "harness"


def test_endings(left: Left) -> None:
    assert {run.info.status for run in left.finished.values()} == {"FINISHED"}
    assert {run.info.status for run in left.diverged.values()} == {"FAILED"}
    assert left.summary.info.status == "FAILED"
    for run in left.diverged.values():
        # The loss before the first update is finite; the step makes the run diverge.
        assert (run.data.tags["diverged_at"], run.data.tags["failure"]) == ("2", "diverged at update 2")
    for run in left.finished.values():
        assert not {"diverged_at", "failure", "model_not_logged"} & run.data.tags.keys()


def test_tags(left: Left) -> None:
    words = f"harness train -m data=csv data.path=small.csv 'data.features=[x]' data.target=y {' '.join(GRID)}"
    assert left.summary.data.tags["kind"] == "sweep"
    assert left.summary.data.tags["command"] == words
    for (chunksize, rate, epochs), run in left.runs.items():
        tags = run.data.tags
        assert tags["kind"] == "run"
        assert tags["sample"] == ("full" if chunksize == "full" else "batch")
        assert tags["sweep"] == left.summary.info.run_id
        own = f"chunksize={chunksize} learning_rate={rate} epochs={epochs}"
        data = "data=csv data.path=small.csv 'data.features=[x]' data.target=y"
        assert tags["command"] == f"harness train {data} {own}"
        assert "mlflow.parentRunId" not in tags  # The UI hides nested runs.
    signatures = [run.data.tags["signature"] for run in left.runs.values()]
    assert len({*signatures, left.summary.data.tags["signature"]}) == 9


def test_each_chunksize_has_its_colour_and_the_sweep_its_views(left: Left) -> None:
    for (chunksize, _, _), run in left.runs.items():
        assert run.data.tags["mlflow.runColor"] == colour(chunksize)
    tags = left.client.get_experiment(left.summary.info.experiment_id).tags
    for address in addresses("", left.summary.info.experiment_id, left.summary.info.run_id).values():
        share = address.split("viewStateShareKey=")[1].split("&")[0]
        assert f"mlflow.sharedViewState.{share}" in tags


def test_the_sweep_has_a_report_and_a_sample(left: Left) -> None:
    def names(folder: str | None) -> list[str]:
        return [artifact.path for artifact in left.client.list_artifacts(left.summary.info.run_id, folder)]

    assert names("report") == [
        f"report/{name}" for name in ("costs.svg", "fit.svg", "heat_map.svg", "losses.svg", "report.html")
    ]
    sample = pd.read_csv(left.client.download_artifacts(left.summary.info.run_id, "sample.csv"))
    assert sample["x"].tolist() == X[~HELD_OUT].tolist()
    assert sample["y"].tolist() == Y[~HELD_OUT].tolist()


def test_names(left: Left) -> None:
    assert left.summary.info.run_name == left.summary.data.tags["command"].removeprefix("harness train -m ")
    assert {run.info.run_name for run in left.runs.values()} == {
        f"{chunk} lr={rate} epochs={epochs}"
        for chunk in ("full", "chunk=4")
        for rate in ("0.1", "1e+30")
        for epochs in "23"
    }


def test_params_are_the_flat_configuration(left: Left) -> None:
    params = left.runs["full", "0.1", "3"].data.params
    expected = {
        "chunksize": "full",
        "learning_rate": "0.1",
        "epochs": "3",
        "seed": "0",
        "loss": "mse",
        "data.path": "small.csv",
        "data.features": "[x]",
        "data.target": "y",
        "data.holdout": "0.2",
        "data.scaling": "standard",
        "model._target_": "harness.models.linear",
        "optimizer.name": "adam",
    }
    assert expected.items() <= params.items()
    assert left.summary.data.params == {}


def test_a_run_can_be_repeated_from_its_recorded_command(left: Left) -> None:
    for run in left.runs.values():
        path = left.client.download_artifacts(run.info.run_id, "config.yaml")
        recorded: Any = OmegaConf.load(path)
        config: Any = OmegaConf.to_object(OmegaConf.merge(schema_of(recorded.data), recorded))
        params = {key: str(value) for key, value in config.flat().items() if value is not None}
        assert params.pop("runtime.precision") == "float32"  # It is recorded only if it is not the default.
        assert {
            key: value for key, value in params.items() if not value.startswith(("[", "{"))
        }.items() <= run.data.params.items()
        assert (config.data.features, config.data.log_columns) == (["x"], [])


def test_metrics_of_each_epoch(left: Left) -> None:
    for (chunksize, _, epochs), run in left.finished.items():
        steps = list(range(1, int(epochs) + 1))
        for key in ("train/loss", "val/loss", "val/rmse", "val/mae", "val/r2", "time/train_s"):
            assert list(left.curve(run, key)) == steps
        assert left.curve(run, "updates") == {step: step * UPDATES[chunksize] for step in steps}
        assert left.curve(run, "rows") == {step: step * ROWS for step in steps}
        for key in ("train/loss", "val/loss"):
            by_update = left.curve(run, f"by_update/{key}")
            assert list(by_update)[-int(epochs) :] == [step * UPDATES[chunksize] for step in steps]
            assert list(by_update.values())[-int(epochs) :] == list(left.curve(run, key).values())
        early = [1, 2] if chunksize == "4" else []  # These are before the end of the first epoch.
        assert list(left.curve(run, "by_update/val/loss"))[: -int(epochs)] == early
        assert not left.curve(run, "by_update/val/rmse")
        chunk_losses = left.curve(run, "train/chunk_loss")
        assert list(chunk_losses) == list(range(1, int(epochs) * UPDATES[chunksize] + 1))
        memory = {f"memory/{name}_mb" for name in ("update", "scan", "device")}
        last = {"rows_per_second", *memory, "time/shared_by", "intercept", "slope"}
        assert {key: list(left.curve(run, key)) for key in last} == dict.fromkeys(last, steps[-1:])
        # A row has a feature, a target, a prediction and its gradient; two weights have gradients and two moments each.
        rows, state = ROWS if chunksize == "full" else CHUNK, 4 * 2 * 4 + 4 + 8
        assert run.data.metrics["memory/update_mb"] == (rows * 4 * 4 + state) / 1e6


def test_the_time_of_a_run_alone_is_that_of_its_updates(left: Left) -> None:
    alone = {key: left.curve(run, "time/alone_s") for key, run in left.finished.items()}
    assert all(list(curve) == [int(epochs)] and curve[int(epochs)] > 0 for (_, _, epochs), curve in alone.items())
    assert alone["4", "0.1", "3"][3] == pytest.approx(alone["4", "0.1", "2"][2] * 1.5)


def test_the_chunk_losses_are_recorded(left: Left) -> None:
    """Before the first update the model is 0.1 + 0.1 x after scaling; an epoch's loss is weighted by rows."""
    x, y = ((values - values.mean()) / values.std() for values in (X[~HELD_OUT], Y[~HELD_OUT]))
    losses = (0.1 + 0.1 * x - y) ** 2
    batch, full = left.runs["4", "0.1", "3"], left.runs["full", "0.1", "3"]
    assert left.curve(full, "train/loss")[1] == pytest.approx(losses.mean(), rel=1e-5)
    chunks = left.curve(batch, "train/chunk_loss")
    assert chunks[1] == pytest.approx(losses[:CHUNK].mean(), rel=1e-5)
    weighted = (4 * chunks[1] + 4 * chunks[2] + 2 * chunks[3]) / ROWS
    assert left.curve(batch, "train/loss")[1] == pytest.approx(weighted, rel=1e-6)


def test_shorter_runs_are_the_beginning_of_longer_ones(left: Left) -> None:
    for chunksize in ("4", "full"):
        short, long = (left.runs[chunksize, "0.1", epochs] for epochs in ("2", "3"))
        for key in ("train/loss", "val/loss", "train/chunk_loss"):
            assert left.curve(short, key).items() < left.curve(long, key).items()


def test_the_holdouts_metrics_follow_from_intercept_and_slope(left: Left) -> None:
    x, y = X[HELD_OUT], Y[HELD_OUT]
    for run in left.finished.values():
        metrics = run.data.metrics
        errors = metrics["intercept"] + metrics["slope"] * x - y
        assert metrics["val/rmse"] == pytest.approx(math.sqrt((errors**2).mean()), rel=1e-5)
        assert metrics["val/mae"] == pytest.approx(abs(errors).mean(), rel=1e-5)
        assert metrics["val/r2"] == pytest.approx(1 - (errors**2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-4)
        assert metrics["val/loss"] == pytest.approx((errors**2).mean() / Y[~HELD_OUT].var(), rel=1e-5)


def test_every_number_in_the_store_is_finite(left: Left) -> None:
    with closing(sqlite3.connect(left.folder / "mlflow.db")) as store:
        rows = store.execute("SELECT value, is_nan FROM metrics").fetchall()
    assert len(rows) > 100
    assert all(math.isfinite(value) and not is_nan for value, is_nan in rows)
    assert all(abs(value) < 1e300 for value, _ in rows)  # MLflow writes infinity like this.


def test_the_data_is_an_input_with_its_digest(left: Left) -> None:
    (manifest,) = left.folder.glob(".harness/tables/*/table.json")
    digest = json.loads(manifest.read_text().split("\n", 1)[1])["digest"]
    for run in left.runs.values():
        inputs = [entry.dataset for entry in run.inputs.dataset_inputs]
        assert [(entry.name, entry.digest) for entry in inputs] == [
            ("small (training)", digest),
            ("small (holdout)", digest),
        ]
        training, holdout = (json.loads(entry.profile) for entry in inputs)
        x, y = training["columns"]["x"], training["columns"]["y"]
        assert (training["num_rows"], holdout) == (10, {"num_rows": 3})
        assert (x["min"], x["max"], x["log"]) == (X[~HELD_OUT].min(), X[~HELD_OUT].max(), False)
        assert (x["mean"], y["std"]) == pytest.approx((X[~HELD_OUT].mean(), Y[~HELD_OUT].std()))


def test_the_best_value_of_each_metric_is_recorded_at_its_epoch(left: Left) -> None:
    for run in left.finished.values():
        for key, best in (("train/loss", min), ("val/loss", min), ("val/rmse", min), ("val/mae", min), ("val/r2", max)):
            curve = left.curve(run, key)
            epoch = best(curve, key=curve.__getitem__)
            assert left.curve(run, best_key(key)) == {epoch: curve[epoch]}
    assert not any(is_best_value(key) for run in left.diverged.values() for key in run.data.metrics)


def test_the_summary_has_a_note_in_markdown(left: Left) -> None:
    def link(run: Run) -> str:
        return f"[{run.info.run_name}]({run_page(run.info.experiment_id, run.info.run_id)})"

    def row(what: str, run: Run) -> str:
        metrics = run.data.metrics
        loss, rmse = f"{metrics['val/loss']:,.6g}", f"{metrics['val/rmse']:,.6g}"
        result = f"val/loss {loss}, val/rmse {rmse}, {metrics['updates']:,.0f} updates"
        return f"- Best {what}: {link(run)}, {result}"

    def best(chunksize: str) -> Run:
        runs = [run for key, run in left.finished.items() if key[0] == chunksize]
        return min(runs, key=lambda run: run.data.metrics["val/loss"])

    summary = left.summary.info
    assert left.summary.data.tags["mlflow.note.content"].splitlines() == [
        row("batch run", best("4")),
        row("full-sample run", best("full")),
        f"- [Report]({run_page(summary.experiment_id, summary.run_id, 'artifacts/report/report.html')})",
        "",
        "`small.csv`: y from x; 10 training rows, 3 holdout rows.",
        "",
        "4 of 8 runs failed:",
        "",
        *[f"- {link(run)}: diverged at update 2" for run in sorted(left.diverged.values(), key=left.order)],
        "",
        f"`{left.summary.data.tags['command']}`",
    ]


def test_the_summary_has_versions_and_system_metrics(left: Left) -> None:
    run_id = left.summary.info.run_id
    packages = Path(left.client.download_artifacts(run_id, "packages.txt")).read_text().splitlines()
    assert f"tensorflow=={tf.__version__}" in packages
    assert [line.split("==")[0] for line in packages] == [
        *("python", "harness", "tensorflow", "keras", "numpy", "pandas", "pyarrow", "mlflow", "hydra-core")
    ]
    assert 0 < left.summary.data.metrics["system/system_memory_usage_percentage"] < 100
    for run in left.runs.values():
        assert [file.path for file in left.client.list_artifacts(run.info.run_id)] == ["config.yaml"]


def test_the_summary_has_the_clocks(left: Left) -> None:
    metrics = left.summary.data.metrics
    assert {"time/compile_s", "time/read_s", "time/train_s", "time/evaluate_s", "time/wall_s"} < metrics.keys()
    assert metrics["memory/peak_mb"] > 100
    assert {run.data.metrics["time/shared_by"] for run in left.finished.values()} == {4}  # two rates of two chunksizes


def test_only_the_best_run_keeps_its_model(left: Left) -> None:
    kept = [run.info.run_id for run in left.runs.values() if run.outputs.model_outputs]
    assert kept == [left.best.info.run_id]


def test_the_best_model_is_registered_as_champion_and_can_be_asked(left: Left) -> None:
    records = RunReader(f"sqlite:///{left.folder}/mlflow.db")
    first, serve, _, ask = register(records, left.best.info.run_id, "lines")
    assert first.endswith("is registered as lines, with version 1 and alias champion. To serve it:")
    assert "mlflow models serve -m models:/lines@champion" in serve
    request = json.loads(shlex.split(ask)[-1])["dataframe_split"]
    assert (request["columns"], len(request["data"])) == (["x"], 1)
    assert register(records, left.best.info.run_id, "lines")[0] == first
    version = left.client.get_model_version_by_alias("lines", "champion")
    assert (version.version, version.run_id) == (1, left.best.info.run_id)
    with pytest.raises(ConfigError, match="has no model"):
        register(records, next(iter(left.diverged.values())).info.run_id, "lines")


def test_the_model_maps_raw_columns_to_raw_predictions(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.chdir(left.folder)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", f"sqlite:///{left.folder}/mlflow.db")
    metrics = left.best.data.metrics
    model = mlflow.pyfunc.load_model(f"models:/{left.best.outputs.model_outputs[0].model_id}")
    for values in (np.array([1, 2, 30]), np.array([0.5, -7.0, 1000.0]), np.array([4], np.float32)):
        predictions = model.predict(pd.DataFrame({"x": values}))
        np.testing.assert_allclose(predictions, (metrics["intercept"] + metrics["slope"] * values)[:, None], rtol=1e-5)


def test_each_run_has_a_folder_and_no_other_files_remain(left: Left) -> None:
    assert left.places == [*(".harness", "mlartifacts", "mlflow.db", "mlflow.db.lock", "multirun", "small.csv")]
    (folder,) = left.folder.glob("multirun/*/*")
    assert sorted(path.name for path in folder.iterdir()) == [*"01234567", "multirun.yaml", "summary.json"]
    logs = []
    for number in range(8):
        job = folder / str(number)
        assert sorted(path.name for path in (job / ".hydra").iterdir()) == [
            "config.yaml",
            "hydra.yaml",
            "overrides.yaml",
        ]
        logs.append((job / "train.log").read_text().split(" - ")[-1].strip())
    assert logs == [
        f"{chunk} lr={rate} epochs={epochs}: {ending}"
        for chunk in ("full", "chunk=4")
        for rate, ending in (("0.1", "FINISHED"), ("1e+30", "FAILED diverged at update 2"))
        for epochs in (2, 3)
    ]


# In this process.

Harness = Callable[..., Answer]


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Harness]:
    """Call the command in a folder with only the small file."""
    (tmp_path / "small.csv").write_text(CSV)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("MLFLOW_TRACKING_URI", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
    handlers, level = logging.root.handlers[:], logging.root.level

    def close_log() -> None:
        for handler in set(logging.root.handlers) - set(handlers):
            handler.close()

    # Hydra configures logging again for each job, which would close pytest's own handlers too.
    monkeypatch.setattr(logging.config, "_clearExistingHandlers", close_log)
    terminate = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(main, "atexit", Mock())  # The console command's function would end pytest.

    def call(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main.main()
        out, err = capsys.readouterr()
        # The start-up phases are progress, which has its own test.
        lines = [line for line in out.splitlines(keepends=True) if not line.startswith("start:  ")]
        return Answer(end.value.code or 0, "".join(lines), err)  # type: ignore[arg-type]

    yield call
    signal.signal(signal.SIGTERM, terminate)
    close_log()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, which takes MLflow a second to create."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def trainer(harness: Harness, empty_store: Path, tmp_path: Path) -> Harness:
    """Call `train` on the small file, with an existing store and without models."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")

    def call(*words: str) -> Answer:
        return harness("train", *DATA, "tracking.log_model=none", "runtime.time_alone=false", *words)

    return call


REFUSED = {
    "chunksze=4": "no such key: chunksze. Did you mean chunksize?",
    "lr=4": "no such key: lr. Did you mean learning_rate?",
    "--epochs 5": "no such option: --epochs. Write epochs=5.",
    "--learning-rate=0.1": "no such option: --learning-rate. Write learning_rate=0.1.",
    "-m chunksize=full, 9": "cannot parse chunksize=full,. Remove the comma at its end, or the space after the comma.",
    "-m learning_rate=[0.1,0.01]": "learning_rate must be a number, not [0.1, 0.01]. To train with each of them, write "
    "-m learning_rate=0.1,0.01.",
    "-m loss=[mse,mae]": "loss must be one value, not ['mse', 'mae']. To train with each of them, write "
    "-m loss=mse,mae.",
    "data.features=x,y": "data.features must be a list. Write 'data.features=[x,y]'.",
    "model=mlp model.units=8,4": "model.units must be a list. Write 'model.units=[8,4]'.",
    "epochs=1,2": "epochs=1,2 has several values. Add -m to train with each of them.",
    "optimizer.schedule.name=cosine_decay": "no such key: optimizer.schedule.name. "
    "Write +optimizer.schedule.name=VALUE to add it.",
    "model=linar": "no such model: linar. Did you mean linear? Available: cnn, custom, linear, mlp.",
    "optimizer=admw": "no such optimizer: admw. Did you mean adamw? Available: adadelta, adafactor, adagrad, "
    "adam, adamax, adamw, ftrl, lamb, lion, muon, nadam, rmsprop, sgd.",
    "epochs=abc": "epochs must be a whole number, not abc.",
    "epochs=0": "epochs must be positive, not 0.",
    "chunksize=abc": "chunksize must be a positive number of rows or `full`, not abc.",
    "learning_rate=nan": "learning_rate must be positive and representable in float32, not nan.",
    "data.features=[x,z]": "{here}/small.csv has no column z. It has: x, y.",
    "data.path=none.csv": "data.path: no such file: {here}/none.csv",
    "data.path=.": "data.path: {here} is a folder. To read its files as one table, write '{here}/*.csv'. "
    "A folder of images needs data=images, and one subfolder of images per class.",
    "data=king_county data.path=kc_house_data.csv": "data.path: no such file: {here}/kc_house_data.csv. "
    "Get it from Kaggle, harlfoxem/housesalesprediction (kc_house_data.csv, CC0).",
    "loss=binary_crossentropy": "loss=binary_crossentropy needs labels 0 and 1, but y contains 5.5. If the column "
    "contains two labels, set 'data.categorical=[y]'.",
    "model=custom": "model._target_ is not set. Add model._target_=VALUE.",
    "--trust model._target_=nowhere.build": "model._target_: cannot import 'nowhere.build' "
    "(ModuleNotFoundError: No module named 'nowhere'). Give the dotted name of a function.",
    "model._target_=harness.models.liner": "model._target_: cannot import 'harness.models.liner' "
    "(AttributeError: module 'harness.models' has no attribute 'liner'). Give the dotted name of a function.",
    "--trust model._target_=math.pi": "model._target_: math.pi is not a function.",
    "model._target_=stranger.build": "model._target_: stranger.build is not in harness, keras or experiments. "
    "Add --trust if you trust this function.",
    "model._target_=keras.utils.get_file +model.origin=http://127.0.0.1:9/": "model._target_: "
    "keras.utils.get_file does not build a model: its first argument is not `inputs`. "
    "Add --trust if you trust this function.",
    "+model.units=[8]": "model: harness.models.linear cannot be called with the arguments ['init', 'units']: "
    "got an unexpected keyword argument 'units'. It takes init.",
    "runtime.device=gpu": "runtime.device=gpu: TensorFlow sees no GPU.",
    "runtime.cache=small.csv/cache": "runtime.cache: cannot write to {here}/small.csv/cache",
    "hydra.run.dir=small.csv/out": "Not a directory: {here}/small.csv/out",
    "tracking.uri=sqlite:///small.csv": "tracking.uri: cannot open the tracking store "
    "sqlite:///{here}/small.csv (file is not a database).",
    "tracking.uri=sqlite:///small.csv/mlflow.db": "tracking.uri: {here}/small.csv is not a folder.",
    "tracking.uri=http://127.0.0.1:9": "tracking.uri: cannot open the tracking store "
    "http://127.0.0.1:9 ([Errno 111] Connection refused).",
    "-m chunksize=4,0": "chunksize must be a positive number of rows or `full`, not 0.",
    "-m data.target=y,z": "{here}/small.csv has no column z. It has: x, y.",
    "-m data.target=y,z hydra/launcher=basic": "{here}/small.csv has no column z. It has: x, y.",
    "-m runtime.lane_tile=8,16": "runtime must be the same for all runs of a sweep, not 2 values.",
    "-m tracking.experiment=a,b": "tracking must be the same for all runs of a sweep, not 2 values.",
    "-m hydra.sweep.dir=small.csv/out seed=0,1": "Not a directory: {here}/small.csv/out",
}


@pytest.mark.parametrize(("words", "sentence"), REFUSED.items(), ids=list(REFUSED))
def test_a_refusal_is_one_sentence_and_records_no_run(
    harness: Harness, words: str, sentence: str, tmp_path: Path
) -> None:
    if words == "runtime.device=gpu" and shutil.which("nvidia-smi"):
        pytest.skip("there may be a GPU")
    answer = harness("train", *DATA, *words.split())
    assert (answer.code, answer.err) == (2, f"harness: {sentence.format(here=tmp_path)}\n")
    assert [line for line in answer.out.splitlines() if not line.startswith("device: ")] == []
    assert not list(tmp_path.rglob("mlflow.db"))
    assert not list(tmp_path.rglob("mlartifacts"))


@pytest.mark.parametrize(
    "words", [["--bogus"], ["-m"], ["train", "--bogus"], ["trian"], ["compare", "--bogus"], ["ui", "--port", "x"]]
)
def test_unknown_commands_are_refused(harness: Harness, words: list[str], tmp_path: Path) -> None:
    answer = harness(*words)
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert stored(tmp_path) == []


def test_king_county_names_the_source_of_its_file(harness: Harness) -> None:
    answer = harness("train", "data=king_county")
    assert answer.code == 2
    assert "Get the file from Kaggle, harlfoxem/housesalesprediction (kc_house_data.csv, CC0)." in answer.err


def test_a_single_run_has_no_summary_and_the_same_numbers_as_in_a_sweep(
    harness: Harness, left: Left, tmp_path: Path
) -> None:
    answer = harness("train", *DATA, "chunksize=4", "epochs=3", "learning_rate=0.1")
    assert (answer.code, answer.err) == (0, "")
    (run,) = stored(tmp_path)
    assert (run.info.status, run.data.tags["kind"]) == ("FINISHED", "run")
    assert "sweep" not in run.data.tags
    assert len(run.outputs.model_outputs) == 1
    companion = left.runs["4", "0.1", "3"]
    for key in ("train/loss", "val/loss", "intercept", "slope"):
        assert run.data.metrics[key] == companion.data.metrics[key]
    assert run.data.tags["signature"] == companion.data.tags["signature"]
    (folder,) = tmp_path.glob("outputs/*/*")
    assert sorted(path.name for path in folder.iterdir()) == [".hydra", "train.log"]
    again = harness("compare", run.info.run_id)
    assert (again.code, again.err) == (0, "")
    assert again.out in answer.out
    assert answer.out.splitlines()[-1].startswith(f"Run {run.info.run_id[:8]} is recorded. Next, try `harness predict ")


def test_a_failing_run_leaves_the_others_alone(trainer: Harness, tmp_path: Path) -> None:
    (tmp_path / "breaks.py").write_text(
        "from harness.models import linear\n"
        "def build(inputs, width):\n"
        "    if width == 2:\n"
        "        raise RuntimeError('no width of 2')\n"
        "    return linear(inputs)\n"
    )
    words = ["--trust", "model=custom", "model._target_=breaks.build", "+model.width=1,2", "epochs=1", "chunksize=4"]
    answer = trainer(*words, "-m")
    assert answer.code == 1
    assert answer.err == "failed: chunk=4 lr=0.01 epochs=1 width=2: RuntimeError: no width of 2\n"
    summary, *runs = stored(tmp_path)
    assert [run.info.status for run in (summary, *runs)] == ["FAILED", "FINISHED", "FAILED"]
    assert runs[1].data.tags["failure"] == "RuntimeError: no width of 2"
    assert "diverged_at" not in runs[1].data.tags
    assert "will not be logged" not in answer.out
    only = trainer(*(word.replace("1,2", "2") for word in words))
    sentence = (
        "breaks.build does not build a model that can be trained. RuntimeError: no width of 2 (breaks.py, line 4)"
    )
    assert (only.code, only.err) == (2, f"harness: {sentence}\n")
    assert len(stored(tmp_path)) == 3


@pytest.mark.parametrize(("keep", "models"), [("all", 2), ("none", 0)])
def test_log_model_all_and_none(trainer: Harness, tmp_path: Path, keep: str, models: int) -> None:
    assert trainer("-m", "seed=0,1", "epochs=1", f"tracking.log_model={keep}").code == 0
    _, *runs = stored(tmp_path)
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert sum(len(run.outputs.model_outputs) for run in runs) == models


def test_hydras_own_launcher_gives_the_same_numbers_one_by_one(trainer: Harness, left: Left, tmp_path: Path) -> None:
    words = ["chunksize=4", "learning_rate=1e30,0.01,0.1", "epochs=3", "tracking.log_model=best"]
    answer = trainer("-m", "hydra/launcher=basic", *words)
    assert (answer.code, answer.err) == (1, "failed: chunk=4 lr=1e+30 epochs=3: diverged at update 2\n")
    said = [line.split(":")[0] for line in answer.out.splitlines()]
    assert (said.count("device"), said.count("store")) == (1, 1)
    summary, lost, worse, run = stored(tmp_path)
    assert [each.info.status for each in (summary, lost, worse, run)] == ["FAILED", "FAILED", "FINISHED", "FINISHED"]
    assert [len(each.outputs.model_outputs) for each in (summary, lost, worse, run)] == [0, 0, 0, 1]
    companion = left.runs["4", "0.1", "3"]
    for key in ("train/loss", "val/loss", "intercept", "slope"):
        assert run.data.metrics[key] == companion.data.metrics[key]
    assert run.data.metrics["time/shared_by"] == 1
    assert {each.data.tags["sweep"] for each in (lost, worse, run)} == {summary.info.run_id}
    (folder,) = tmp_path.glob("multirun/*/*")
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "2", "multirun.yaml", "summary.json"]


def test_columns_of_any_name(trainer: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    names = ["living area", "a/b", "größe (€)"]
    values = np.stack([X, X * X % 7, 3 * X % 5], axis=1)
    rows = [*values.T, 5 + values @ [1, 2, 3]]
    pd.DataFrame(dict(zip([*names, "price, total"], rows, strict=True))).to_csv(tmp_path / "small.csv", index=False)
    columns = 'data.features=["living area","a/b","größe (€)"]', 'data.target="price, total"'
    answer = trainer(*columns, "epochs=2", "tracking.log_model=best")
    assert (answer.code, answer.err) == (0, "")
    (run,) = stored(tmp_path)
    metrics = run.data.metrics
    slopes = [metrics[f"weight/{name}"] for name in ("living area", "a/b", "größe :x28::x20ac::x29:")]
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", f"sqlite:///{tmp_path}/mlflow.db")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "When providing `inputs` as a dict", UserWarning)  # `a/b` has a slash.
        model = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    predictions = model.predict(pd.DataFrame(values, columns=names))
    np.testing.assert_allclose(predictions, (metrics["intercept"] + values @ slopes)[:, None], rtol=1e-5)


def test_categories_and_dates_from_a_shuffled_fifo(
    trainer: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logged model takes raw columns, and each category has its weight."""
    import mlflow

    lines = (f"{day}.1.1970;{name};{3 * day + (10 if name == 'north' else 0)}" for day, name in DAYS)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("when;where;y\n" + "\n".join(lines),))
    writer.start()
    words = ["data.features=[when,where]", "data.categorical=[where]", "data.dates=[when]", "data.date_format=%d.%m.%Y"]
    words += ["data.delimiter=';'", "data.order=shuffled", "data.holdout=0.2", "tracking.log_model=best"]
    answer = trainer(*words, f"data.path={path}", "chunksize=4", "epochs=60", "learning_rate=0.1")
    writer.join()
    assert (answer.code, answer.err) == (0, "")
    (run,) = stored(tmp_path)
    metrics = run.data.metrics
    assert metrics["weight/when"] == pytest.approx(3, rel=0.01)
    assert metrics["weight/where/north"] - metrics["weight/where/south"] == pytest.approx(10, rel=0.01)
    assert metrics["val/r2"] > 0.999
    with warnings.catch_warnings(action="ignore"):
        # `set_tracking_uri` would leave a variable in the environment for later tests.
        monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", f"sqlite:///{tmp_path}/mlflow.db")
        model = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
        raw = {"when": ["5.1.1970", "5.1.1970"], "where": ["north", "south"]}
        north, south = np.ravel(model.predict(pd.DataFrame(raw)))
    assert (north, south) == (pytest.approx(3 * 5 + 10, rel=0.02), pytest.approx(3 * 5, rel=0.02))


DAYS = [(day, ("north", "south")[day % 3 == 0]) for day in range(1, 32)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rows", "nan"], "--rows must be a positive whole number, not nan."),
        (["--rows", "inf"], "--rows must be a positive whole number, not inf."),
        (["--rows", "1.5"], "--rows must be a positive whole number, not 1.5."),
        (["--rows", "0"], "--rows must be a positive whole number, not 0."),
        (["--seed", "-1"], "--seed must be at least 0, not -1."),
    ],
)
def test_invalid_rows_to_generate_are_refused(harness: Harness, words: list[str], sentence: str) -> None:
    assert harness("data", "generate", "out.csv", *words) == Answer(2, "", f"harness: {sentence}\n")


def test_generating_needs_a_folder(harness: Harness) -> None:
    said = "harness: PATH: no such folder: none\n"
    assert harness("data", "generate", "none/out.csv") == Answer(2, "", said)


def test_a_sweeps_folder_belongs_to_its_store(
    trainer: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.training.trainer.Scan.run", lambda scan: iter(()))
    words = ["-m", "hydra.sweep.dir=out"]
    trainer(*words, "seed=0")
    trainer(*words, "seed=1")
    summary, *runs = stored(tmp_path)
    assert [run.data.tags["sweep"] for run in runs] == [summary.info.run_id] * 2
    answer = trainer(*words, "seed=2", f"tracking.uri=sqlite:///{tmp_path}/other.db")
    assert answer.code == 2
    assert f"does not contain run {summary.info.run_id}" in answer.err


def test_the_environment_names_the_store(harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere/mlflow.db")
    monkeypatch.setattr("harness.training.trainer.Scan.run", lambda scan: iter(()))
    answer = harness("train", *DATA)
    assert f"store:  sqlite:///{tmp_path}/elsewhere/mlflow.db, experiment harness\n" in answer.out
    assert not (tmp_path / "mlflow.db").exists()
    assert (tmp_path / "elsewhere" / "mlartifacts").is_dir()
    (run,) = stored(tmp_path / "elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert harness("compare", run.info.run_id).code == 2
    assert harness("compare", "--uri", "sqlite:///elsewhere/mlflow.db", run.info.run_id).code == 0


def test_compare_shows_the_newest_sweep(harness: Harness, left: Left) -> None:
    uri = f"sqlite:///{left.folder}/mlflow.db"
    shown = "\n".join([*left.said[2:-2], ""])
    assert left.said[-1].startswith(f"Sweep {left.summary.info.run_id[:8]} is recorded. Next, try `harness report ")
    for ids in ([], [left.summary.info.run_id], [run.info.run_id for run in left.runs.values()]):
        assert harness("compare", "--uri", uri, *ids) == Answer(0, shown, "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["compare"], "No tracking store at {here}/mlflow.db. Run `harness train` first, or pass --uri."),
        (
            ["compare", "--uri", "http://127.0.0.1:9"],
            "--uri: cannot open the tracking store http://127.0.0.1:9 ([Errno 111] Connection refused).",
        ),
        (["compare", "--uri", "{store}", "unknown"], "No run or sweep with the id unknown in {store}."),
        (["ui"], "No tracking store at {here}/mlflow.db. Run `harness train` first, or pass --uri."),
        (["report"], "No tracking store at {here}/mlflow.db. Run `harness train` first, or pass --uri."),
        (["sweeps"], "No tracking store at {here}/mlflow.db. Run `harness train` first, or pass --uri."),
        (
            ["ui", "--uri", "http://127.0.0.1:9"],
            "--uri: cannot open the tracking store http://127.0.0.1:9 ([Errno 111] Connection refused).",
        ),
        (
            ["predict", "--uri", "{store}", "unknown", "small.csv"],
            "No run or sweep with the id unknown in {store}.",
        ),
        (
            ["ui", "--port", "99999"],
            "--port: port 99999 is not available on 127.0.0.1. Omit --port to use a free one.",
        ),
        (
            ["data", "describe", "none.csv"],
            "data.path: no such file: {here}/none.csv",
        ),
    ],
)
def test_other_commands_refuse_in_one_sentence(
    harness: Harness, left: Left, words: list[str], sentence: str, tmp_path: Path
) -> None:
    store = f"sqlite:///{left.folder}/mlflow.db"
    answer = harness(*(word.format(store=store) for word in words))
    assert answer == Answer(2, "", f"harness: {sentence.format(here=tmp_path, store=store)}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["small.csv"]


def test_data_is_generated_and_described(harness: Harness, tmp_path: Path) -> None:
    assert harness("data", "generate", "some.csv", "--rows", "1e3") == Answer(
        0, f"some.csv: 1,000 rows, {(tmp_path / 'some.csv').stat().st_size:,} bytes\n", ""
    )
    answer = harness("data", "describe", "some.csv")
    assert (answer.code, answer.err) == (0, "")
    assert "data.path=some.csv" in answer.out
    assert "\nsqft_basement " in answer.out


def test_report_and_compare_repeat_what_train_printed(left: Left, harness: Harness, tmp_path: Path) -> None:
    uri = f"sqlite:///{left.folder}/mlflow.db"
    folder = f"harness-report-{left.summary.info.run_id[:8]}"
    assert harness("report", "--uri", uri) == Answer(0, f"{folder}/report.html\n", "")
    assert "4 diverged" in (tmp_path / folder / "report.html").read_text()
    answer = harness("report", left.summary.info.run_id, "--uri", uri, "--output", str(tmp_path / "there"))
    assert answer.out == f"{tmp_path}/there/report.html\n"
    assert len(list((tmp_path / "there").iterdir())) == 5
    rows = pd.read_csv(io.StringIO(harness("compare", "--uri", uri, "--csv").out))
    assert set(rows["run_id"]) == {run.info.run_id for run in left.runs.values()}
    assert harness("compare", "--uri", uri, "--markdown").out.startswith("| run | chunk | lr | epochs | updates |")
    answer = harness("sweeps", "--uri", uri)
    line = answer.out.splitlines()[1]
    assert line.startswith(f"{left.summary.info.run_id[:8]} ")
    assert "4 finished, 4 diverged" in line
    assert f" {left.best.info.run_name} " in line


def test_the_best_model_predicts(left: Left, harness: Harness, tmp_path: Path) -> None:
    uri = f"sqlite:///{left.folder}/mlflow.db"
    answer = harness("predict", left.best.info.run_id, "small.csv", "--uri", uri)
    assert (answer.code, answer.err) == (0, "")
    metrics = left.best.data.metrics
    expected = metrics["intercept"] + metrics["slope"] * X
    np.testing.assert_allclose(pd.read_csv(io.StringIO(answer.out))["prediction"], expected, rtol=1e-5)


def test_a_failing_report_does_not_fail_the_sweep(trainer: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("harness.analysis.report.write", fail)
    answer = trainer("-m", "epochs=1,2", "chunksize=full")
    assert (answer.code, answer.err) == (0, "")
    assert "report: could not be created (OSError: no room). Try `harness report`.\n" in answer.out


def crash(scan: object) -> None:
    raise ZeroDivisionError("by nothing")


def test_a_crash_prints_one_sentence_and_ends_all_runs(
    trainer: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.training.trainer.Scan.run", crash)
    answer = trainer("-m", "chunksize=full,4", "epochs=1")
    assert answer.code == 1
    assert answer.err == "harness: ZeroDivisionError: by nothing (HYDRA_FULL_ERROR=1 shows the traceback)\n"
    assert [run.info.status for run in stored(tmp_path)] == ["FAILED"] * 3


def test_hydra_full_error_shows_the_traceback(
    trainer: Harness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr("harness.training.trainer.Scan.run", crash)
    with pytest.raises(ZeroDivisionError, match="by nothing"):
        trainer("epochs=1")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"
    assert [run.info.status for run in stored(tmp_path)] == ["FAILED"]


def epochs_so_far(folder: Path) -> int:
    """Return the number of epochs in a folder's store."""
    if not (folder / "mlflow.db").exists():
        return 0
    try:
        with closing(sqlite3.connect(folder / "mlflow.db")) as store:
            return store.execute("SELECT count(*) FROM metrics WHERE key = 'val/loss'").fetchone()[0]
    except sqlite3.OperationalError:  # The store is still being created.
        return 0


def is_under_way(folder: Path) -> bool:
    """Wait until some epochs have been recorded, with a time limit."""
    deadline = time.monotonic() + 90
    while epochs_so_far(folder) < 20 and time.monotonic() < deadline:
        time.sleep(0.1)
    return time.monotonic() < deadline


LONG = ["-m", "chunksize=full,4", "epochs=1,100000"]
ENDINGS = {
    (None, None): "KILLED",  # the summary
    ("full", "1"): "FINISHED",
    ("4", "1"): "FINISHED",
    ("full", "100000"): "KILLED",
    ("4", "100000"): "KILLED",
}
INTERRUPTED = "interrupted. Run the same command again to resume."
INTERRUPTS = pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGTERM, 143, ""), (signal.SIGINT, 130, f"\nharness: {INTERRUPTED}\n")]
)


def endings(folder: Path) -> dict[tuple[str | None, str | None], str]:
    return {
        (run.data.params.get("chunksize"), run.data.params.get("epochs")): run.info.status for run in stored(folder)
    }


@INTERRUPTS
def test_an_interrupted_sweep_leaves_no_run_running(
    trainer: Harness, tmp_path: Path, number: signal.Signals, code: int, said: str
) -> None:
    over = threading.Event()

    def interrupt() -> None:
        is_under_way(tmp_path)
        while not over.is_set():
            os.kill(os.getpid(), number)
            over.wait(60)  # A signal handler's exception is lost where Python ignores exceptions, as in finalizers.

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        answer = trainer(*LONG)
    finally:
        over.set()
        thread.join()
    assert (answer.code, answer.err) == (code, said)
    assert endings(tmp_path) == ENDINGS


# This is the real command again.


def modules_after(*words: str) -> tuple[str, set[str]]:
    """Return the command's output, and the packages it has imported."""
    code = (
        "import sys\nfrom harness.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('\\n' + ' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    answer = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    out, _, modules = answer.stdout.rstrip().rpartition("\n")
    return out, set(modules.split())


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], {"tensorflow", "keras", "mlflow", "pandas", "numpy", "hydra", "rich"}),
        (["train", "--help"], {"tensorflow", "keras", "mlflow", "pandas"}),
        (["compare", "--help"], {"tensorflow", "keras", "mlflow", "pandas", "hydra"}),
        (["--version"], {"tensorflow", "keras", "mlflow", "pandas", "numpy", "hydra"}),
    ],
    ids=lambda value: " ".join(sorted(value)),
)
def test_help_does_not_import_tensorflow(words: list[str], heavy: set[str]) -> None:
    out, modules = modules_after(*words)
    assert out
    assert "click" in modules
    assert not modules & heavy


def test_a_command_ends_without_freeing_all_objects() -> None:
    code = (
        "import atexit, sys\nfrom harness.cli.main import main\n"
        "class Noisy:\n    def __del__(self):\n        print('freed')\n"
        "sys.noisy = Noisy()\n"
        "atexit.register(print, 'too late')\n"  # Registered before the command's function, so called after it.
        "main()"
    )
    answer = subprocess.run([sys.executable, "-c", code, "nonsense"], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "No such command 'nonsense'" in answer.stderr


@pytest.mark.parametrize("words", [[], ["data"]])
def test_a_command_that_needs_another_word_shows_its_help(words: list[str]) -> None:
    answer = subprocess.run([COMMAND, *words], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "\nCommands:\n  " in answer.stdout


@pytest.mark.slow
@INTERRUPTS
def test_an_interrupt_ends_the_command(tmp_path: Path, number: signal.Signals, code: int, said: str) -> None:
    (tmp_path / "small.csv").write_text(CSV)
    process = command(tmp_path, "train", *DATA, *LONG)
    try:
        assert is_under_way(tmp_path)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (code, f"\nharness: {STOPPING}\n{said}")
    assert endings(tmp_path) == ENDINGS


@pytest.mark.slow
def test_the_ui_serves_the_store_until_it_is_stopped(left: Left, harness: Harness, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = command(left.folder, "ui", "--port", str(port))
    try:
        said = [process.stdout.readline() for _ in range(5)]  # type: ignore[union-attr]
        views = addresses(f"http://127.0.0.1:{port}", left.summary.info.experiment_id, left.summary.info.run_id)
        newest = [f"newest sweep's {what}: {address}\n" for what, address in views.items()]
        assert said == [
            f"store: sqlite:///{left.folder}/mlflow.db\n",
            "Starting the MLflow UI ...\n",
            "Ready. Ctrl-C stops it.\n",
            *newest,
        ]
        answer = harness("ui", "--uri", f"http://127.0.0.1:{port}")
        assert answer == Answer(0, "".join(newest), "")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            assert b"MLflow" in page.read()
        client = MlflowClient(f"http://127.0.0.1:{port}")
        assert client.get_run(left.best.info.run_id).data.metrics == left.best.data.metrics
        uri = f"http://127.0.0.1:{port}"
        words = ["chunksize=4", "epochs=3", "learning_rate=0.1", "runtime.rerun=true", f"tracking.uri={uri}"]
        answer = harness("train", *DATA, *words)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.splitlines()[1] == f"store:  {uri}, experiment harness"
        run = client.search_runs([left.summary.info.experiment_id], max_results=1)[0]  # the newest
        assert run.info.status == "FINISHED"
        assert run.data.metrics["val/loss"] == left.runs["4", "0.1", "3"].data.metrics["val/loss"]
        assert len(run.outputs.model_outputs) == 1
        assert harness("compare", "--uri", uri, run.info.run_id).out in answer.out
        assert not (tmp_path / "mlflow.db").exists()
        taken = command(left.folder, "ui", "--port", str(port))
        assert "is not available" in taken.communicate(timeout=30)[1]
        assert taken.returncode == 2
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", port), timeout=1):
        pass
