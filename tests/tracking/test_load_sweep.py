"""Sweeps as `harness.load_sweep` returns them."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

import harness
from harness.errors import ConfigError
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker
from tests.docs.pages import blocks, text

CURVES = {"batch": [0.9, 0.5], "full": [0.8, 0.7, 0.6]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A sweep of a batch run, a full-sample run and a diverged one: ids by name, and `uri`."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    ids = {"uri": uri}
    with Tracker(uri, "question") as tracker:
        ids["sweep"] = tracker.start_run("the sweep", {}, {"kind": "sweep", "command": "harness train -m ..."})
        tracker.log_text(ids["sweep"], "x,y\n1,2\n3,4.5\n", "sample.csv")
        for name, size in (("batch", "250"), ("full", "full"), ("lost", "250")):
            params = {
                "chunksize": size,
                "learning_rate": "0.10",
                "epochs": len(CURVES.get(name, "...")),
                "model": "mlp",
            }
            tags = {"kind": "run", "sample": "full" if name == "full" else "batch", "sweep": ids["sweep"]}
            ids[name] = tracker.start_run(name, params, tags | ({"diverged_at": "7"} if name == "lost" else {}))
            for epoch, loss in enumerate(CURVES.get(name, []), 1):
                axes = {
                    "updates": epoch * (1 if name == "full" else 4),
                    "rows": epoch * 1000,
                    "time/train_s": epoch / 4,
                }
                tracker.log(ids[name], {"val/loss": loss, **axes}, epoch)
            if name == "batch":
                tracker.log_curve(ids[name], "train/chunk_loss", range(1, 9), range(8))
            tracker.end_run(ids[name], "FINISHED" if name in CURVES else "FAILED")
    return ids


def test_the_example_of_the_docs(
    store: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = blocks("comparison.md", "python")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store["uri"])
    names: dict = {}
    exec(compile(example, "comparison.md", "exec"), names)
    assert names["best_of_each"].to_dict() == {"batch": 0.5, "full": 0.6}
    assert store["batch"][:8] in capsys.readouterr().out
    described = {
        line.split("`")[1]: line.split("`")[2:] for line in text("comparison.md").splitlines() if "| `." in line
    }
    for name, columns in ((".runs", 5), (".curves", 8), (".table", 5)):
        frame = getattr(names["sweep"], name[1:])
        documented = [word for word in described[name] if word in frame.columns]
        assert documented[:columns] == list(frame.columns)[:columns]


def test_runs_are_typed(store: dict[str, str]) -> None:
    sweep = harness.load_sweep(uri=store["uri"])
    runs = sweep.runs.set_index("name")
    assert list(runs.index) == ["batch", "full", "lost"]
    assert runs["chunksize"].dtype == runs["epochs"].dtype == runs["diverged_at"].dtype == "Int64"
    assert runs["learning_rate"].dtype == runs["val/loss"].dtype == float
    assert runs["chunksize"].isna().tolist() == [False, True, False]
    assert (runs.loc["batch", "chunksize"], runs.loc["lost", "diverged_at"]) == (250, 7)
    assert runs.loc["full", "val/loss"] == 0.6
    assert set(runs["model"]) == {"mlp"}
    assert set(sweep.params) == {"chunksize", "learning_rate", "epochs", "model"}


def test_runs_come_in_the_order_asked_for(store: dict[str, str]) -> None:
    reader = RunReader(store["uri"])
    assert list(reader.load([store["lost"], store["batch"]]).runs["name"]) == ["lost", "batch"]
    with pytest.raises(ConfigError, match="No run or sweep with the id unknown in"):
        reader.load([store["lost"], "unknown"])
    with pytest.raises(ConfigError, match="No run or sweep with the id o'"):
        reader.load([store["lost"], "o'"])


def test_the_sweep_is_named_and_its_sample_is_there(store: dict[str, str]) -> None:
    sweep = harness.load_sweep(store["sweep"], store["uri"])
    assert (sweep.sweep_id, sweep.name) == (store["sweep"], "the sweep")
    assert sweep.tags["command"] == "harness train -m ..."
    pd.testing.assert_frame_equal(sweep.sample, pd.DataFrame({"x": [1, 3], "y": [2, 4.5]}))


def test_a_run_alone(store: dict[str, str]) -> None:
    sweep = harness.load_sweep(store["batch"], store["uri"])
    assert (sweep.sweep_id, sweep.sample, list(sweep.runs["name"])) == ("", None, ["batch"])


def test_each_point_has_its_place_on_all_axes(store: dict[str, str]) -> None:
    curves = harness.load_sweep(uri=store["uri"]).curves
    assert list(curves.columns) == ["run_id", "metric", "step", "value", "epoch", "updates", "rows", "seconds"]
    found = {name: curves[curves["run_id"] == store[name]].drop(columns="run_id").values.tolist() for name in CURVES}
    assert found == {
        "batch": [["val/loss", 1, 0.9, 1, 4, 1000, 0.25], ["val/loss", 2, 0.5, 2, 8, 2000, 0.5]],
        "full": [
            ["val/loss", step, loss, step, step, step * 1000, step / 4] for step, loss in enumerate(CURVES["full"], 1)
        ],
    }


def test_chunk_losses_have_updates_as_steps(store: dict[str, str]) -> None:
    curves = harness.load_sweep(uri=store["uri"], metrics=["train/chunk_loss"]).curves
    assert curves["updates"].tolist() == curves["step"].tolist() == list(range(1, 9))
    assert curves[["epoch", "rows", "seconds"]].isna().all(axis=None)


def test_figures_are_one_call(store: dict[str, str]) -> None:
    from harness.analysis import figures

    figure = figures.loss_curves(harness.load_sweep(uri=store["uri"]))
    assert figure is not None
    assert len(figure.axes[0].lines) == 2


def test_loading_prints_nothing(store: dict[str, str]) -> None:
    code = "import sys, harness; harness.load_sweep(uri=sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, store["uri"]], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, harness; print(sorted({'mlflow', 'pandas', 'numpy', 'tensorflow', 'matplotlib'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
