"""Every command on tables with classes or two targets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.pyfunc import load_model

from harness.config import DataConfig
from harness.data.split import Split
from tests.warm import Warm

KINDS = ["oak", "ash", "elm", "fir", "yew", "box", "bay"]
WORDS = ["data=csv", "data.path=some.csv", "data.features=[a,b,c]", "model=linear", "learning_rate=0.1", "epochs=2"]
CASES = {
    "classes": [
        *("data.target=kind", "loss=sparse_categorical_crossentropy", "data.class_weight=balanced", "data.weight=w"),
        "objective.metric=val/accuracy",
    ],
    "two targets": ["data.target=[y,z]", "data.log_columns=[z]", "objective.metric=val/r2"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(903, 3)), columns=["a", "b", "c"])
    scores = frame.to_numpy() @ rng.normal(size=(3, len(KINDS))) * 3 + rng.gumbel(size=(903, len(KINDS)))
    frame["kind"] = np.array(KINDS)[scores.argmax(axis=1)]
    frame["y"], frame["z"] = frame["a"] * 3 - frame["b"], np.exp(frame["c"] / 2) * 1000
    frame["w"] = rng.integers(1, 4, 903)
    frame.to_csv(tmp_path / "some.csv", index=False)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_all_commands(folder: Path, warm: Warm, case: str) -> None:
    def harness(*words: str) -> str:
        log = folder / "words.log"
        assert warm.run(folder, *words, log=log, seconds=120) == 0, log.read_text()
        return log.read_text()

    harness("train", "-m", *WORDS, *CASES[case], "chunksize=full,100")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'harness'")
    found = client.search_runs([experiment.experiment_id], "tags.kind = 'run'")
    metric = CASES[case][-1].partition("=")[2]
    best: Any = max(found, key=lambda run: run.data.metrics[metric])
    assert best.data.tags["sample"] == "batch"
    assert experiment_tag(client, experiment.experiment_id, "name") == metric
    assert experiment_tag(client, experiment.experiment_id, "greaterIsBetter") == "true"
    assert f"Best batch run (chunks of 100 rows): {metric} " in harness("compare")
    harness("report", "--output", "report")
    assert (folder / "report/confusion.svg").exists() == (case == "classes")
    harness("predict", best.info.run_id, "some.csv", "--output", "out.csv")
    predicted, rows = pd.read_csv(folder / "out.csv"), pd.read_csv(folder / "some.csv")
    model = load_model(client.get_logged_model(best.outputs.model_outputs[0].model_id).artifact_location)
    again = model.predict(rows[["a", "b", "c"]])
    if case == "classes":
        assert (predicted["class"] == rows["kind"]).mean() > 0.6
        assert list(again.columns) == model.metadata.metadata["classes"] == sorted(KINDS)
        np.testing.assert_allclose(predicted["probability"], again.max(axis=1), rtol=1e-6)
        text = client.download_artifacts(best.info.run_id, "confusion.csv", str(folder))
        counts = pd.read_csv(io.StringIO(Path(text).read_text()), index_col=0)
        accuracy = np.trace(counts.to_numpy()) / counts.to_numpy().sum()
        assert best.data.metrics["val/accuracy"] == pytest.approx(accuracy)
    else:
        np.testing.assert_allclose(predicted, again, rtol=1e-6)
        assert [*predicted] == ["prediction/y", "prediction/z"]
        names = {"intercept/y", "weight/z/c", "val/rmse/y", "val/r2/z", "val/r2"}
        assert names <= best.data.metrics.keys()
        assert best.data.metrics["weight/y/a"] > 2 > best.data.metrics["weight/y/b"]
    assert "bit-identical; finished." in harness("reproduce", best.info.run_id)


def experiment_tag(client: MlflowClient, experiment: str, name: str) -> str:
    return client.get_experiment(experiment).tags[f"mlflow.experiment.primaryMetric.{name}"]


@pytest.mark.slow
def test_one_of_several_splits_has_a_holdout_without_weight(folder: Path, warm: Warm) -> None:
    frame = pd.read_csv(folder / "some.csv")
    frame["w"] = 1 - Split.of(DataConfig(["a"], "y")).parts(0, len(frame))["holdout"]
    frame.to_csv(folder / "some.csv", index=False)
    words = [*WORDS, "data.target=y", "data.weight=w", "chunksize=100", "data.split_seed=1,0"]
    assert warm.run(folder, "train", "-m", *words, log=folder / "log") == 0, (folder / "log").read_text()
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'harness'")
    found = client.search_runs([experiment.experiment_id], "tags.kind = 'run'")
    assert sorted("val/loss" in run.data.metrics for run in found) == [False, True]
