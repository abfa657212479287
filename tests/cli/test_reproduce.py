"""Reproducing recorded runs: from the record alone, bit for bit, and safely if someone else wrote the record."""

from __future__ import annotations

import io
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf
import yaml
from mlflow.tracking import MlflowClient
from rich.console import Console

from harness.analysis.run_list import run_list
from harness.cli import differences, main
from harness.cli.metric_diff import pairs, verdict
from harness.cli.reproduce import Request, _on_its_device, reproduce
from harness.config import Config, DataConfig, LogModel, Loss, Precision, RuntimeConfig, TrackingConfig
from harness.errors import ConfigError
from harness.sweep import runner
from harness.sweep.display import Display
from harness.tracking import artifacts
from harness.tracking.reader import RunReader
from harness.tracking.recorded_config import config_of
from harness.tracking.tracker import Tracker

CSV = "x,z,y\n" + "".join(f"{x},{x * x % 7},{3 * x + x % 3}\n" for x in range(23))
MODELS = {
    "linear": {"_target_": "harness.models.linear", "init": 0.1},
    "mlp": {"_target_": "harness.models.mlp", "units": [4]},
}


def config(model: str, **settings: Any) -> Config:
    defaults: dict[str, Any] = {"chunksize": 4, "learning_rate": 0.1, "epochs": 2, "seed": 0, "loss": Loss.mse}
    return Config(
        data=DataConfig(features=["x", "z"], target="y", path="small.csv"),
        model=MODELS[model],
        optimizer={"name": "adam"},
        tracking=TrackingConfig(experiment="a question", log_model=LogModel.none),
        **defaults | settings,
    )


CONFIGS = {
    "batch": config("linear"),
    "full": config("linear", chunksize="full"),
    "mlp": config("mlp", seed=3),
    "diverged": config("linear", learning_rate=1e30),
}


@dataclass(frozen=True)
class Left:
    """The records of a sweep in a folder."""

    folder: Path
    ids: dict[str, str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """A sweep, and someone else's run."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.csv").write_text(CSV)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        display = Display(Console(file=io.StringIO()))
        runs = runner.train(list(CONFIGS.values()), display, command="harness train -m ...", folder=folder / "multirun")
        with Tracker(f"sqlite:///{folder}/mlflow.db", "a question") as tracker:
            stranger = tracker.start_run("stranger", {}, {})
    ids = dict(zip(CONFIGS, (run.run_id for run in runs), strict=True))
    (summary,) = RunReader(f"sqlite:///{folder}/mlflow.db").newest_sweeps(2)
    return Left(folder, ids | {"sweep": summary.info.run_id, "stranger": stranger})


@pytest.fixture
def left(trained: Left, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Left:
    """A separate folder with store and data, in which the command is called."""
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copyfile(trained.folder / "small.csv", folder / "small.csv")
    with (
        closing(sqlite3.connect(trained.folder / "mlflow.db")) as one,
        closing(sqlite3.connect(folder / "mlflow.db")) as other,
    ):
        one.backup(other)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    return Left(folder, trained.ids)


def again(left: Left, name: str, **wish: Any) -> tuple[bool, list[str]]:
    """Reproduce a run; return whether it was equal, and the output."""
    out = io.StringIO()
    wish = {"run_id": left.ids.get(name, name), **wish}
    display = Display(Console(file=out, width=200))
    return reproduce(
        RunReader(f"sqlite:///{left.folder}/mlflow.db"), Request(**wish), display
    ), out.getvalue().splitlines()


def others(said: list[str]) -> list[str]:
    return [line.removeprefix("differs: ").split(":")[0] for line in said if line.startswith("differs:")]


def change(left: Left, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(left.folder / "mlflow.db")) as store, store:
        assert store.execute(statement, values).rowcount > 0


def count(left: Left) -> int:
    with closing(sqlite3.connect(left.folder / "mlflow.db")) as store:
        return store.execute("SELECT count(*) FROM runs").fetchone()[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_has_the_same_numbers_alone_as_in_a_sweep(left: Left, name: str) -> None:
    is_equal, said = again(left, name)
    assert is_equal
    assert others(said) == []
    words = said[-1].split()
    assert (words[1], words[-2] == "bit-identical;") == ("equal:", name != "diverged")
    assert (int(words[2]) > 9) == (name != "diverged")
    now = MlflowClient().get_run(said[-1].split()[0])
    assert now.data.tags["reproduces"] == left.ids[name]
    assert run_list([now])[-1][1].endswith(f" (reproduces {left.ids[name][:8]})")
    assert now.data.tags["command"] == f"harness reproduce {left.ids[name]}"
    assert now.data.params["runtime.rerun"] == "True"
    assert now.data.tags.get("diverged_at") == ("2" if name == "diverged" else None)
    assert now.info.experiment_id == MlflowClient().get_run(left.ids[name]).info.experiment_id
    # It is not part of the sweep, and other sweeps do not reuse it.
    assert "sweep" not in now.data.tags
    records = RunReader(f"sqlite:///{left.folder}/mlflow.db")
    ids = records.load([left.ids["sweep"]]).runs["run_id"]
    assert sorted(ids) == sorted(left.ids[key] for key in CONFIGS)
    signature = now.data.tags["signature"]
    known = records.of_signatures(now.info.experiment_id, [signature])[signature]
    assert [run.info.run_id for run in known] == [left.ids[name]]


def test_the_smallest_difference_anywhere_on_a_curve_is_found(left: Left) -> None:
    scale = "UPDATE metrics SET value = value * 1.0000001 WHERE key = 'train/loss' AND step = 1 AND run_uuid = ?"
    change(left, scale, left.ids["batch"])
    is_equal, said = again(left, "batch")
    assert not is_equal
    assert "different: 1 of " in said[-1]
    assert re.search(r"metrics, by up to [\d.]+e-0[78] \(train/loss\)\.$", said[-1])
    (row,) = [line for line in said if line.startswith("train/loss ")]
    assert row.endswith("at step 1")
    assert next(line for line in said if line.startswith("val/loss ")).endswith(" 0")


def test_other_data_is_reported_and_the_numbers_differ(left: Left) -> None:
    (left.folder / "small.csv").write_text(CSV + "23,1,99\n")
    before = count(left)
    with pytest.raises(ConfigError, match="--strict: digest of the data: "):
        again(left, "batch", strict=True)
    assert count(left) == before
    is_equal, said = again(left, "batch")
    assert (is_equal, others(said)) == (False, ["digest of the data"])


def test_moved_data_must_be_named(left: Left, tmp_path: Path) -> None:
    moved = tmp_path / "moved.csv"
    shutil.move(left.folder / "small.csv", moved)
    with pytest.raises(ConfigError) as refusal:
        again(left, "batch")
    assert f"{left.folder}/small.csv" in str(refusal.value)
    assert str(refusal.value).endswith("Name the data with --data PATH.")
    is_equal, said = again(left, "batch", data=(str(moved),))
    assert (is_equal, others(said)) == (True, [])


def evil(left: Left, change_of: Callable[[dict[str, Any]], object] | str | None) -> str:
    """Record a run as someone else might, starting from a real record; return its id."""
    with Tracker(f"sqlite:///{left.folder}/mlflow.db", "a question") as tracker:
        run_id = tracker.start_run("evil", {}, {"kind": "run", "sample": "batch"})
        settings = artifacts.settings(RunReader(tracker.uri), left.ids["batch"], left.folder)
        if callable(change_of):
            change_of(settings)
        if change_of is not None:
            text = change_of if isinstance(change_of, str) else yaml.safe_dump(settings)
            tracker.log_text(run_id, text, "config.yaml")
        tracker.end_run(run_id, "FINISHED")
    return run_id


def test_data_elsewhere_is_not_measured_for_others(left: Left, tmp_path: Path) -> None:
    private = tmp_path / "private.csv"
    private.write_text(CSV.replace("2", "1"))
    run_id, before = evil(left, lambda settings: settings["data"].update(path=str(private))), count(left)
    with pytest.raises(ConfigError, match=f"{private} is not the recorded data: its digest differs. Name the data"):
        again(left, run_id)
    assert count(left) == before
    assert not again(left, run_id, data=(str(private),))[0]


def test_paths_in_a_record_are_ignored(left: Left, tmp_path: Path) -> None:
    def lead_away(settings: dict[str, Any]) -> None:
        settings["runtime"]["cache"] = str(tmp_path / "cache")
        settings["tracking"]["uri"] = f"sqlite:///{tmp_path}/other/mlflow.db"
        settings["tracking"]["experiment"] = "../../other"

    (left.folder / "here.csv").write_text(CSV)
    is_equal, _ = again(left, evil(left, lead_away))
    assert not is_equal  # It has no metrics.
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert (left.folder / ".harness" / "tables").is_dir()
    assert not (tmp_path / "other").exists()


BILLION_LAUGHS = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
OTHER_MODEL = {"_target_": "stranger.build"}


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (None, "config.yaml of run .* cannot be read"),
        ("[1, 2]", "config.yaml of run .* does not contain a configuration"),
        ("{a: 1}", "config.yaml does not contain a run's configuration"),
        ("a: [", "config.yaml of run .* cannot be read"),
        ("!!python/object/apply:os.mkdir [evil]", "config.yaml of run .* cannot be read"),
        (BILLION_LAUGHS, "config.yaml of run .* contains YAML aliases"),
        ("[" * 100_000, "config.yaml of run .* is nested more than 20 levels deep"),
        ("- 1\n" * 20_000, "config.yaml of run .* has more than 10,000 values"),
        ("a: " + "x" * 20_000, "config.yaml of run .* has a value of more than 10,000 characters"),
        ("a: 1" + " " * (2 << 20), "config.yaml of run .* is larger than 1.05 MB"),
        (lambda settings: settings["data"].update(path="/**/*.csv"), r"trained on /\*\*/\*.csv, which searches all"),
        (
            lambda settings: settings["data"].update(path="/dev/zero"),
            "trained on /dev/zero, which is a stream or device",
        ),
        (
            lambda settings: settings.update(model={"_target_": "harness.models.mlp", "units": [2_000_000_000]}),
            "model.units must be from 1 to 1000000, not 2000000000",
        ),
        (
            lambda settings: settings.update(model={"_target_": "harness.models.mlp", "units": [10**6, 10**6]}),
            "model: 1,000,00.* weights need 8 TB of memory, but only .* is available. Use smaller layers",
        ),
        (lambda settings: settings["model"].update(init=10**400), "config.yaml|model.init must be a finite number"),
        (lambda settings: settings["data"].update(split_seed=10**22), "data.split_seed must be from"),
        (lambda settings: settings.update(bogus=1), "config.yaml is not compatible with this version"),
        (lambda settings: settings.update(epochs="many"), "config.yaml is not compatible with this version"),
        (lambda settings: settings.update(epochs=0), "epochs must be positive, not 0."),
        (
            lambda settings: settings["data"].update(target="${oc.env:HOME}"),
            "config.yaml contains values that are not plain",
        ),
        (
            lambda settings: settings["model"].update({"${oc.env:HOME}": 1}),
            "config.yaml contains values that are not plain",
        ),
        (
            lambda settings: settings["model"].update(OTHER_MODEL),
            "is not in harness, keras or experiments",
        ),
        (lambda settings: settings["model"].update(_target_="keras.utils.get_file"), "first argument is not `inputs`"),
        (lambda settings: settings["runtime"].update(lane_tile=-1), "runtime.lane_tile must be positive"),
    ],
)
def test_a_bad_record_is_refused(left: Left, made: Any, sentence: str) -> None:
    run_id = evil(left, made)
    before = count(left)
    with pytest.raises(ConfigError, match=sentence):
        again(left, run_id)
    assert count(left) == before
    assert not (left.folder / "evil").exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("unknown", "No run or sweep with the id unknown in sqlite:///{folder}/mlflow.db."),
        ("sweep", "{id} is a sweep, not a run. `harness compare {id}` lists its runs."),
        ("stranger", "Run {id} was not recorded by the harness."),
    ],
)
def test_runs_of_other_programs_are_refused(left: Left, name: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        again(left, name)
    assert str(refusal.value) == sentence.format(id=left.ids.get(name), folder=left.folder)


def test_other_packages_and_commits_are_reported(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differences, "packages", lambda: "python==2.7\nnew==1\n")
    monkeypatch.setattr(differences, "commits", lambda targets: "elsewhere==abc\n")
    monkeypatch.setattr(differences, "patches", lambda targets: {"uncommitted-elsewhere.patch": "one\ntwo\n"})
    is_equal, said = again(left, "full")
    assert is_equal
    lines = [line.removeprefix("differs: ") for line in said if line.startswith("differs:")]
    assert any(line.endswith("recorded, 2.7 here") and line.startswith("python: ") for line in lines)
    assert {"new: none recorded, 1 here", "commit of elsewhere: none recorded, abc here"} <= set(lines)
    assert "uncommitted changes of elsewhere: none recorded, a patch of 2 lines here" in lines


def test_measured_tiles_are_not_used(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.sweep.measured_tiles.MeasuredTiles.tile", lambda self, kind: 2)
    change(left, "UPDATE tags SET value = '8, then 4' WHERE key = 'tile' AND run_uuid = ?", left.ids["batch"])
    _, said = again(left, "batch")
    assert MlflowClient().get_run(said[-1].split()[0]).data.tags["tile"] == "8"


def test_a_killed_run_is_compared_up_to_where_it_stopped(left: Left) -> None:
    change(left, "UPDATE runs SET status = 'KILLED' WHERE run_uuid = ?", left.ids["full"])
    change(left, "DELETE FROM metrics WHERE step = 2 AND run_uuid = ?", left.ids["full"])
    change(left, "DELETE FROM latest_metrics WHERE key IN ('slope', 'intercept') AND run_uuid = ?", left.ids["full"])
    is_equal, said = again(left, "full")
    assert is_equal
    assert said[-1].endswith("The recorded run is killed, so only the points in its record are compared.")


@pytest.fixture
def command(left: Left) -> Callable[..., object]:
    return lambda *words: main.cli.main(["reproduce", *words], standalone_mode=False)


def test_the_exit_code_tells_whether_the_runs_are_equal(
    command: Callable[..., object], left: Left, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(left.ids["batch"]) == 0
    change(left, "UPDATE metrics SET value = 0 WHERE key = 'updates' AND run_uuid = ?", left.ids["batch"])
    assert command(left.ids["batch"], "--uri", f"sqlite:///{left.folder}/mlflow.db", "--data", "small.csv") == 1
    tags = MlflowClient().get_run(capsys.readouterr().out.splitlines()[-1].split()[0]).data.tags
    assert tags["command"].endswith(f"--uri sqlite:///{left.folder}/mlflow.db --data small.csv")


def test_curves_are_compared_point_by_point() -> None:
    one = {"a": {1: 1.0, 2: 4.0}, "b": {1: 1.0}, "time/train_s": {1: 3.0}, "rows_per_second": {1: 3.0}}
    other = {"a": {1: 1.5, 2: 4.0}, "c": {1: 1.0}, "time/train_s": {1: 4.0}, "rows_per_second": {1: 4.0}}
    a, b, c = pairs(one, other)
    assert (a.metric, a.recorded, a.now, a.difference, a.step, a.missing) == ("a", 4.0, 4.0, 0.5, 1, 0)
    assert (b.recorded, b.now, b.missing) == (1.0, None, 1)
    assert (c.recorded, c.now, c.missing) == (None, 1.0, 1)
    assert verdict([a], ("finished", "finished")) == (False, "different: 1 of 1 metrics, by up to 0.12 (a).")
    assert verdict([a, b], ("finished", "finished"))[1] == "different: 2 of 2 metrics, b lacks points."
    assert not verdict([], ("finished", "diverged at update 2"))[0]
    assert [pair.metric for pair in pairs(one, other, so_far=True)] == ["a", "b"]


def test_only_settings_that_affect_numbers_are_restored() -> None:
    values = {
        "lane_tile": 16,
        "gram": True,
        "threads": 2,
        "deterministic": True,
        "cache": "/elsewhere",
        "device": "gpu",
        "workers": 99,
        "block_rows": 5,
        "precision": "mixed_float16",
    }
    settings: dict[str, Any] = {
        "chunksize": "full",
        "learning_rate": 1e-07,
        "epochs": 1,
        "seed": 0,
        "loss": "mae",
        "data": {"features": ["a"], "target": "y", "path": "a.csv"},
        "model": MODELS["linear"],
        "optimizer": {"name": "adam"},
        "runtime": values,
    }
    found = config_of(settings, path=["b.csv"], runtime={"rerun": True}, tracking={"experiment": "e"})
    assert (found.runtime.lane_tile, found.runtime.threads, found.runtime.deterministic) == (16, 2, True)
    assert found.runtime.gram
    assert found.runtime.precision is Precision.mixed_float16
    del values["gram"]  # As in records from before this key existed.
    assert not config_of(settings, runtime={}, tracking={}).runtime.gram
    assert (found.runtime.cache, found.runtime.workers, found.runtime.block_rows) == (".harness", None, None)
    assert (found.runtime.rerun, found.runtime.device.value) == (True, "auto")
    assert (found.data.path, found.tracking.experiment, found.loss) == (["b.csv"], "e", Loss.mae)


@pytest.mark.parametrize(
    ("recorded", "tile", "gpus", "expected"),
    [
        ("GPU (NVIDIA H200)", "1000", 1, 1000),
        ("GPU (NVIDIA H200)", "1000", 0, 16),
        ("GPU (NVIDIA H200)", "-8", 1, 16),
        ("CPU", "8", 1, 8),
        ("CPU", "8, then 4", 1, 16),
    ],
)
def test_the_tile_is_restored_on_the_same_kind_of_device(
    recorded: str, tile: str, gpus: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:

    from harness.runtime import device

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one"] * gpus)
    monkeypatch.setattr(device, "choose_device", lambda runtime: ("", recorded))
    run: Any = SimpleNamespace(data=SimpleNamespace(tags={"device": recorded, "tile": tile}))
    data = DataConfig(features=["a"], target="y", path="a.csv")
    adam, runtime = {"name": "adam"}, RuntimeConfig(lane_tile=16)
    config = Config("full", 0.1, 1, 0, Loss.mse, data, MODELS["linear"], adam, runtime=runtime)
    config, _ = _on_its_device(config, run)
    assert config.runtime.lane_tile == expected


OWN_MODEL = "from harness.models import linear\ndef build(inputs):\n    return linear(inputs, init={init})\n"


@pytest.mark.slow
def test_a_users_model_needs_trust_and_its_source_is_compared(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(init: float) -> None:
        monkeypatch.delitem(sys.modules, "own_once_more", raising=False)
        sys.path_importer_cache.clear()
        (left.folder / "own_once_more.py").write_text(OWN_MODEL.format(init=init))

    monkeypatch.setattr(sys, "path", [*sys.path, str(left.folder)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write(0.25)
    own = replace(CONFIGS["full"], model={"_target_": "own_once_more.build"})
    (run,) = runner.train([own], Display(Console(file=io.StringIO())), command="harness train --trust ...")
    monkeypatch.delitem(sys.modules, "own_once_more")
    with pytest.raises(ConfigError, match="is not in harness, keras or experiments"):
        again(left, run.run_id)
    assert "own_once_more" not in sys.modules
    is_equal, said = again(left, run.run_id, trusted=True)
    assert (is_equal, others(said)) == (True, [])
    write(0.5)
    is_equal, said = again(left, run.run_id, trusted=True)
    assert not is_equal
    assert others(said) == ["signature, which covers the source of own_once_more.build"]
