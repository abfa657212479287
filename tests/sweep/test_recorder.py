"""What a stream of events becomes in MLflow; nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from mlflow.entities import Run as Record
from mlflow.tracking import MlflowClient

from harness.config import Config, LogModel
from harness.config.schema import OWN_TAGS
from harness.runtime import gpu_facts
from harness.sweep import run_fields
from harness.sweep.model_log import describe_unloggable
from harness.sweep.plan import Run, prepare
from harness.sweep.recorder import Recorder
from harness.sweep.run_fields import config_yaml
from harness.sweep.run_state import find_states
from harness.tracking import run_tags
from harness.tracking.frames import row
from harness.tracking.tracker import Tracker
from harness.training.call_memory import CallMemory
from harness.training.cohort import Cohort
from harness.training.events import Diverged, Ending, EpochEnd, Restored, Stopped
from harness.training.strategy import Strategy
from harness.training.update_memory import UpdateMemory
from tests.sweep.folders import config


def build_local(inputs: int) -> keras.Model:
    class Local(keras.layers.Dense):
        pass

    return keras.Sequential([keras.Input((inputs,)), Local(1)])


WEIGHTS = [np.array([[2.0]], np.float32), np.array([0.5], np.float32)]


class Recording:
    """A recorder for the runs of one lane."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "some.csv").write_text("x,y\n" + "".join(f"{i},{3 * i}\n" for i in range(100)))
        self.uri = f"sqlite:///{path}/mlflow.db"

    def config(self, epochs: int) -> Config:
        return config(self.path, epochs=epochs)

    def runs(self, *epochs: int) -> list[Run]:
        return prepare([self.config(count) for count in epochs], lambda state: None)

    def record(self, runs: list[Run], events: list[EpochEnd | Stopped | Diverged]) -> dict[str, Record]:
        """Record events of the only lane, and return the runs by requested epochs."""
        with Tracker(self.uri, "harness", self.path / "outbox") as tracker:
            recorder = Recorder(tracker, "harness train", self.path / "sweep", "CPU")
            recorder.start(runs)
            for event in events:
                if isinstance(event, EpochEnd):
                    recorder.epoch(runs, event)
                elif isinstance(event, Stopped):
                    recorder.stopped(runs, event, train_seconds=1.0, shared_by=1)
                else:
                    recorder.diverged(runs, event)
            recorder.finish()
        found = MlflowClient(self.uri).search_runs(["1"], "tags.kind = 'run'")
        return {record.data.params["epochs"]: record for record in found}

    def steps(self, record: Record, key: str) -> list[int]:
        return [point.step for point in MlflowClient(self.uri).get_metric_history(record.info.run_id, key)]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path)


def epoch(number: int, loss: float) -> EpochEnd:
    updates = np.arange(8 * (number - 1), 8 * number) + 1
    return EpochEnd(0, number, 8 * number, loss, {"val/loss": loss}, 0.5 * number, (updates, np.full(8, loss)))


def test_a_lane_that_ends_early_ends_its_runs_at_that_epoch(recording: Recording) -> None:
    runs = recording.runs(2, 5, 9)
    events = [epoch(1, 3.0), epoch(2, 1.0), Stopped(0, 2, (2,), WEIGHTS), epoch(3, 2.0)]
    events += [Stopped(0, 3, (5, 9), WEIGHTS, Ending.stopped)]
    found = recording.record(runs, events)
    assert [run.status for run in runs] == ["FINISHED"] * 3
    assert [record.info.status for record in found.values()] == ["FINISHED"] * 3
    assert [recording.steps(found[epochs], "train/loss") for epochs in ("2", "5", "9")] == [[1, 2], *[[1, 2, 3]] * 2]
    assert [recording.steps(found[epochs], "slope") for epochs in ("2", "5", "9")] == [[2], [3], [3]]
    assert [recording.steps(found[epochs], "val/best/loss") for epochs in ("2", "5", "9")] == [[2], [2], [2]]
    for record in (found["5"], found["9"]):
        metrics = record.data.metrics
        assert (metrics["updates"], metrics["val/loss"], metrics["val/best/loss"]) == (24, 2.0, 1.0)
        assert metrics["rows_per_second"] == 3 * runs[0].table.train_rows
    assert [found[epochs].data.tags.get("stopped_at") for epochs in ("2", "5", "9")] == [None, "3", "3"]


def test_a_run_that_keeps_its_best_epoch_has_the_result_of_that_epoch(recording: Recording) -> None:
    (run,) = recording.runs(2)
    restored = Restored(1, {"train/loss": 1.0, "val/loss": 1.0})
    (record,) = recording.record(
        [run], [epoch(1, 1.0), epoch(2, 3.0), Stopped(0, 2, (2,), WEIGHTS, restored=restored)]
    ).values()
    assert (run.cost, record.data.tags["restored_epoch"]) == (1.0, "1")
    assert (record.data.metrics["val/loss"], row(record)["val/loss"], row(record)["updates"]) == (3.0, 1.0, 16)
    assert "restored/val/loss" not in row(record)


def test_a_pruned_run_is_neither_finished_nor_interrupted(recording: Recording) -> None:
    (run,) = recording.runs(9)
    (record,) = recording.record([run], [epoch(1, 1.0), Stopped(0, 1, (9,), WEIGHTS, Ending.pruned)]).values()
    tags, metrics = record.data.tags, record.data.metrics
    assert (run.status, record.info.status, tags["pruned_at"]) == ("KILLED", "KILLED", "1")
    assert record.data.params["epochs"] == "9"
    assert "slope" not in metrics
    assert "val/best/loss" not in metrics
    (again,) = recording.runs(9)
    (state,) = find_states([again], {again.signature: [record]}, set(), lambda _: False, "1").values()
    assert (state.name, state.has_result, state.record) == ("new", False, None)
    summary = MlflowClient(recording.uri).search_runs(["1"], "tags.kind = 'sweep'")[0]
    assert summary.info.status == "FINISHED"
    own = {key for each in (record, summary) for key in each.data.tags if not key.startswith("mlflow.")}
    assert own | {value for name, value in vars(run_tags).items() if name.isupper()} <= OWN_TAGS


def test_users_cannot_set_the_tags_of_a_run_on_a_gpu(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_facts, "query", lambda name: "1")
    monkeypatch.setattr(run_fields, "gpu_facts", gpu_facts.gpu_facts.__wrapped__)
    (run,) = recording.runs(2)
    run.cohort = Cohort([0], 8, Strategy("graph", False, 64), UpdateMemory(0, 0), [], 10, CallMemory(0, 0, 0, 0))
    own = {key for key in run_fields.run_tags(run, "harness train", "GPU") if not key.startswith("mlflow.")}
    assert {"tile", "cuda", "cudnn", "tf32", "gpu_driver", "gpu_memory_mib", "slice_rows"} <= own <= OWN_TAGS


def test_a_diverging_lane_fails_its_unfinished_runs(recording: Recording) -> None:
    runs = recording.runs(1, 3)
    found = recording.record(runs, [epoch(1, 3.0), Stopped(0, 1, (1,), WEIGHTS), Diverged(0, 11)])
    assert (found["1"].info.status, found["3"].info.status) == ("FINISHED", "FAILED")
    assert found["3"].data.tags["diverged_at"] == "11"
    assert found["3"].data.tags["failure"] == "diverged at update 11"
    assert "failure" not in found["1"].data.tags


@pytest.mark.parametrize("awkward", ["1e3", "null", "on", "2024-01-01", "größe", "a: b", "x" * 300, "", "'", "0x1f"])
def test_a_configuration_is_read_back_from_its_yaml(recording: Recording, awkward: str) -> None:
    config = recording.config(3)
    config.data.features = ["x", awkward]
    config.optimizer = {"name": "sgd", "momentum": 1e-9, "nesterov": True}
    values = yaml.safe_load(config_yaml(config))
    assert values["data"]["features"] == ["x", awkward]
    assert values["optimizer"] == config.optimizer
    assert (values["loss"], values["data"]["scaling"], values["tracking"]["experiment"]) == ("mse", "standard", None)
    assert [*values][:5] == ["chunksize", "learning_rate", "epochs", "seed", "loss"]


def test_models_that_cannot_be_logged_are_named_before_training(recording: Recording) -> None:
    plain = recording.config(2)
    own = replace(plain, model={"_target_": f"{__name__}.build_local"})
    (sentence,) = describe_unloggable(prepare([plain, own, replace(own, seed=1)], lambda state: None))
    assert sentence.startswith(
        f"{__name__}.build_local builds models that will not be logged: it could not be loaded again, because it uses "
        "Local"
    )
    unlogged = replace(own, tracking=replace(own.tracking, log_model=LogModel.none))
    assert not [*describe_unloggable(prepare([unlogged], lambda state: None))]
