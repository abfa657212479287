"""How command-line arguments become the configurations that reach the library; nothing is trained."""

from __future__ import annotations

import importlib
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from harness.cli import train
from harness.cli.compose import CONF, Job, register_schema
from harness.cli.job_configs import to_config
from harness.config import Config, DataConfig, Device, FullSample, LogModel, Loss, Missing, Scaling
from harness.data.csv.other_kinds import READABLE
from harness.errors import ConfigError
from harness.sweep.proposer import Result
from harness.tracking.recorded_config import schema_of

CSV = ["data=csv", "data.path=houses.csv", "data.features=[a,b]", "data.target=y"]
GROUPS = ("data", "experiment", "model", "optimizer", "runtime", "search", "sweep", "tracking")
OPTIONS = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]
NEEDED = {
    ("data", "csv"): CSV[1:],
    **{("data", kind): ["loss=sparse_categorical_crossentropy"] for kind in ("images", "digits")},
    ("data", "king_county"): ["data.path=kc_house_data.csv"],
    ("model", "custom"): ["model._target_=harness.models.linear"],
}
ROOT_KEYS = (
    "chunksize, data, epochs, experiment, learning_rate, loss, model, objective, optimizer, runtime, search, "
    "seed, stopping, sweep, tracking"
)


def composed(*overrides: str, with_hydra: bool = False) -> DictConfig:
    register_schema()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides), return_hydra_config=with_hydra)


def settings(*overrides: str) -> Config:
    return config_of(composed(*overrides))


def config_of(config: DictConfig) -> Config:
    return to_config(Job(config, [], {}, lambda: config))


def test_defaults_whole() -> None:
    assert settings().flat() == {
        "chunksize": 100,
        "learning_rate": 0.01,
        "epochs": 5,
        "seed": 0,
        "loss": "mse",
        "data.path": None,
        "data.rows": 21613,
        "data.origin": None,
        "data.features": ["sqft_living"],
        "data.target": "price",
        "data.delimiter": ",",
        "data.encoding": "utf-8",
        "data.decimal": ".",
        "data.thousands": None,
        "data.strip": "",
        "data.na_values": [],
        "data.keep_default_na": True,
        "data.header": "first",
        "data.names": [],
        "data.units_row": False,
        "data.skip_rows": 0,
        "data.skip_footer": 0,
        "data.comment": None,
        "data.skip_initial_space": False,
        "data.trailing_delimiter": False,
        "data.log_columns": [],
        "data.exclude": [],
        "data.categorical": [],
        "data.classes": [],
        "data.weight": None,
        "data.class_weight": None,
        "data.dates": [],
        "data.date_format": None,
        "data.scaling": "standard",
        "data.holdout": 0.2,
        "data.split_seed": 0,
        "data.missing": "error",
        "data.order": "file",
        "data.test": 0.0,
        "data.folds": None,
        "data.fold": None,
        "model._target_": "harness.models.linear",
        "model.init": 0.1,
        "optimizer.name": "adam",
        "optimizer.beta_1": 0.9,
        "optimizer.beta_2": 0.999,
        "optimizer.epsilon": 1e-7,
        "optimizer.schedule": None,
        "objective.metric": None,
        "objective.delta": 1.0,
        "objective.label_smoothing": 0.0,
        "stopping.patience": None,
        "stopping.min_delta": 0.0,
        "stopping.metric": None,
        "stopping.restore": "last",
        "tracking.uri": None,
        "tracking.experiment": None,
        "tracking.log_model": "best",
        "tracking.wait": 600.0,
        "tracking.lease_seconds": 60.0,
        "tracking.curve_points": 1000,
        "tracking.early_updates": True,
        "tracking.name": None,
        "tracking.note": None,
        "tracking.tags": {},
        "runtime.device": "auto",
        "runtime.device_memory_mb": None,
        "runtime.devices": None,
        "runtime.block_rows": None,
        "runtime.precision": "float32",
        "runtime.full_sample": "streamed",
        "runtime.lane_tile": None,
        "runtime.gram": True,
        "runtime.threads": 1,
        "runtime.workers": None,
        "runtime.cache": ".harness",
        "runtime.deterministic": False,
        "runtime.time_alone": True,
        "runtime.rerun": False,
    }


def plain(value: Any) -> bool:
    """Return True if a value contains no OmegaConf objects."""
    if is_dataclass(value):
        return all(plain(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict | list):
        return all(plain(part) for part in (value.values() if isinstance(value, dict) else value))
    return not isinstance(value, DictConfig | ListConfig)


def test_the_conf_folder_holds_the_groups_of_the_contract() -> None:
    assert sorted({group for group, _ in OPTIONS}) == list(GROUPS)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=["=".join(pair) for pair in OPTIONS])
def test_every_option_composes_into_the_dataclasses(group: str, option: str) -> None:
    config = settings(f"{group}={option}", *NEEDED.get((group, option), []))
    assert type(config) is Config
    assert plain(config)
    assert (config.loss is Loss.mse) == isinstance(config.data, DataConfig)


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "sweep"])
def test_every_point_of_a_sweep_is_a_configuration(option: str) -> None:
    config = composed(f"sweep={option}", with_hydra=True)
    assert config.hydra.mode is RunMode.MULTIRUN
    parser = OverridesParser.create()
    axes = [parser.parse_override(f"{key}={values}") for key, values in config.hydra.sweeper.params.items()]
    for axis in axes:
        for value in axis.sweep_string_iterator():
            settings(f"{axis.key_or_group}={value}")


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "experiment"])
def test_each_experiment_has_a_module_of_the_same_name(option: str) -> None:
    config = settings(f"experiment={option}")
    assert config.model["_target_"] == f"experiments.{option}.build_model"
    assert (CONF.parent / "experiments" / f"{option}.py").is_file()


def test_the_command_line_overrides_everything() -> None:
    config = settings("experiment=house_prices", "chunksize=7", "optimizer=sgd", "tracking.experiment=mine")
    assert (config.chunksize, config.optimizer["name"], config.tracking.experiment) == (7, "sgd", "mine")
    assert config.model == {"_target_": "experiments.house_prices.build_model"}


def test_values_get_the_types_of_the_schema() -> None:
    config = settings(
        *CSV,
        "learning_rate=1",
        "loss=huber",
        "data.scaling=none",
        "data.missing=mean",
        "data.log_columns=[y]",
        "data.holdout=0",
        "tracking.log_model=all",
        "runtime.device=cpu",
        "runtime.full_sample=resident",
        "runtime.block_rows=2048",
        "model=mlp",
        "model.units=[8]",
        "+optimizer.clipnorm=1.5",
    )
    assert (config.learning_rate, type(config.learning_rate)) == (1.0, float)
    assert config.loss is Loss.huber
    assert (config.data.scaling, config.data.missing) == (Scaling.none, Missing.mean)
    assert (config.data.features, config.data.log_columns, config.data.holdout) == (["a", "b"], ["y"], 0.0)
    assert config.tracking.log_model is LogModel.all
    assert (config.runtime.device, config.runtime.full_sample) == (Device.cpu, FullSample.resident)
    assert config.runtime.block_rows == 2048
    assert config.model == {"_target_": "harness.models.mlp", "units": [8], "activation": "relu"}
    assert config.optimizer["clipnorm"] == 1.5


@pytest.mark.parametrize(
    ("word", "chunksize", "is_full"), [("4", 4, False), ("full", "full", True), ("null", None, True)]
)
def test_a_chunksize_is_a_number_or_full(word: str, chunksize: int | str | None, is_full: bool) -> None:
    config = settings(f"chunksize={word}")
    assert (config.chunksize, config.is_full) == (chunksize, is_full)
    assert config.flat()["chunksize"] == ("full" if is_full else chunksize)


REFUSED = {
    # A typo in a key; the message suggests the likely key and lists the others.
    "experimnt=house_prices": "no such key: experimnt. Did you mean experiment?",
    "qwerty=1": f"no such key: qwerty. The configuration has: {ROOT_KEYS}.",
    "holdout=0.1": "no such key: holdout. Did you mean data.holdout?",
    "runtme.device=cpu": "no such key: runtme. Did you mean runtime?",
    "runtime.devce=cpu": "no such key: runtime.devce. Did you mean runtime.device?",
    "model.inti=0.5": "no such key: model.inti. Did you mean model.init?",
    "model.units=[8]": "no such key: model.units. model has: _target_, init. Write +model.units=VALUE to add it.",
    # Hydra accepts a +, but nothing would read the key that it adds.
    "+chunk=4": "no such key: chunk. Did you mean chunksize?",
    "+data.holdot=0.5": "no such key: data.holdot. Did you mean data.holdout?",
    # A typo in an option.
    "experiment=nothing": "no such experiment: nothing. Available: digits, house_prices.",
    "runtime.device=gpus": "runtime.device must be auto, cpu or gpu, not gpus. Did you mean gpu?",
    "loss=mes": "loss must be mse, mae, huber, binary_crossentropy or sparse_categorical_crossentropy, not mes.",
    # A wrong type.
    "epochs=1.5": "epochs must be a whole number, not 1.5.",
    "epochs=null": "epochs must not be null.",
    "learning_rate=fast": "learning_rate must be a number, not fast.",
    "chunksize=1.5": "chunksize must be a whole number or `full`, not 1.5.",
    "chunksize=[1,2]": (
        "chunksize must be a whole number or `full`, not [1, 2]. To train with each of them, write -m chunksize=1,2."
    ),
    "data.features=a": "data.features must be a list, such as data.features=[a,b], or all.",
    "data.path=${nothing}": "data.path: Interpolation key 'nothing' not found.",
    # A wrong value.
    "data.log_columns=[rooms]": "data.log_columns: rooms not in data.features and data.target (sqft_living, price).",
    "model=custom": "model._target_ is not set. Add model._target_=VALUE.",
    "data=csv": (
        "data.path, data.features and data.target are not set. Add data.path=FILE 'data.features=[NAME,NAME]' "
        "data.target=NAME. `harness data describe FILE` lists the columns."
    ),
    # Arguments that Hydra does not accept.
    "chunksize": "cannot parse chunksize. Write KEY=VALUE, such as chunksize=100.",
    "epochs=[1": "cannot parse epochs=[1. Write KEY=VALUE, such as chunksize=100.",
    "epochs=1,2": "epochs=1,2 has several values. Add -m to train with each of them.",
    "epochs=range(1,3)": "epochs=range(1,3) is more than one value. Add -m to train or search all of them.",
    "data=null": "Config group override must be a string or a list. Got NoneType",
    "--config-dir=nowhere": "--config-dir: no such folder: {here}/nowhere",
}


@dataclass
class FakeRun:
    """The attributes of a run that are read before and after training."""

    config: Config
    name: str = "fake"
    run_id: str = "0"
    status: str = "FINISHED"
    reason: str = ""
    is_reused: ClassVar[bool] = False

    @property
    def cost(self) -> float:
        """The run's result; it diverges at a learning rate of one."""
        return self.config.learning_rate if self.config.learning_rate < 1 else math.inf


@dataclass
class Call:
    """A call of the library."""

    configs: list[Config]
    command: str
    folder: Path | None
    commands: list[str]  # for each configuration alone


Calls = list[Call]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_logging: None) -> Calls:
    """The calls that reach `harness.sweep.runner`, which trains nothing here."""
    from harness.sweep import runner

    made: Calls = []

    def train(self: Any, configs: Sequence[Config], commands: Sequence[str]) -> list[FakeRun]:
        made.append(Call(list(configs), self._command, self._folder, list(commands)))
        return [FakeRun(config) for config in configs]

    monkeypatch.setattr(runner.Sweep, "train", train)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return made


def run(*words: str) -> list[Any]:
    """Run the application, and reset Hydra's global state afterwards."""
    arguments = sys.argv[:]
    try:
        return train.run(words)
    finally:
        assert (os.environ.get("HYDRA_FULL_ERROR"), sys.argv) == (None, arguments)
        assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(("word", "sentence"), REFUSED.items(), ids=list(REFUSED))
def test_a_refusal_is_one_sentence(
    calls: Calls, word: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        run(word)
    assert str(refusal.value) == sentence.format(here=tmp_path)
    assert calls == []
    assert capsys.readouterr() == ("", "")


LOSS = "loss=mse does not predict the classes of images. Set loss=sparse_categorical_crossentropy, or data.label_type="
CSV_WORDS = "'data.features=[size,kind,sold]' data.target=price 'data.categorical=[kind]' 'data.dates=[sold]'"
LONG = "x" * 300
OWN_FILES = {
    "data=csv data.path=none.csv data.features=[a]": (
        "data.path: no such file: {here}/none.csv. data.target is not set. Add data.target=NAME. "
        "`harness data describe FILE` lists the columns."
    ),
    "data=csv data.features=[a] data.target=b": "data.path is not set. Add data.path=FILE.",
    "data=king_county": (
        "data.path is not set. Get the file from Kaggle, harlfoxem/housesalesprediction (kc_house_data.csv, CC0). "
        "Add data.path=FILE."
    ),
    # The source comes first, then the loss.
    "data=csv data.path=none.csv data.features=[a] data.target=b data.categorical=[b]": (
        "data.path: no such file: {here}/none.csv. data.categorical names the target b: set "
        "loss=sparse_categorical_crossentropy for classes."
    ),
    "data=images": f"data.path is not set. Add data.path=FOLDER. {LOSS}number.",
    "data=images data.path=none": f"data.path: no such file or folder: {{here}}/none. {LOSS}number.",
    "data=images data.path=rows": (
        f"data.path: {{here}}/rows has no images; it needs one subfolder of images per class. {LOSS}number."
    ),
    "data=images data.path=README.md": (
        f"{{here}}/README.md is a Markdown document, not a table. {READABLE} {LOSS}number."
    ),
    # The whole remedy for a file of one's own.
    "data=csv data.path=homes.csv": f"data.features and data.target are not set. For example, add {CSV_WORDS}.",
    "data.path=homes.csv": (
        "{here}/homes.csv has no column sqft_living, which the default, data=houses, trains on. "
        f"For your own file, add data=csv {CSV_WORDS}."
    ),
    "data=homes.csv": f"no such data: homes.csv. To train on a file, write data=csv data.path=homes.csv {CSV_WORDS}.",
    "homes.csv": f"cannot parse homes.csv. To train on a file, write data=csv data.path=homes.csv {CSV_WORDS}.",
    "photos": (
        "cannot parse photos. To train on a folder of images, write data=images data.path=photos model=cnn "
        "loss=sparse_categorical_crossentropy."
    ),
    "rows": "cannot parse rows. Write KEY=VALUE, such as chunksize=100.",
    LONG: f"cannot parse {LONG}. Write KEY=VALUE, such as chunksize=100.",
    "data.path=homes.csv data.features=[size,kinds] data.target=price": (
        "{here}/homes.csv has no column kinds. Did you mean kind?"
    ),
    "data.path=twins.csv": (
        "{here}/twins.csv has no column sqft_living, price, which the default, data=houses, trains on. "
        "For your own file, add data=csv 'data.features=[NAME,NAME]' data.target=NAME."
    ),
    # All columns that are not numbers, and the loss that suits them.
    "data=csv data.path=homes.csv data.features=[size,kind,sold,note] data.target=price": (
        "{here}/homes.csv: kind ('house'), sold ('2014-01-01'), note ('note 0') are not numbers. "
        "Set 'data.categorical=[kind]' 'data.dates=[sold]'. "
        "Leave out note: there are too many different values for categories."
    ),
    "data=csv data.path=homes.csv data.features=[size] data.target=kind": (
        "{here}/homes.csv: kind ('house') is not a number. Set loss=sparse_categorical_crossentropy."
    ),
    "data=csv data.path=homes.csv data.features=[size] data.target=kind loss=binary_crossentropy": (
        "{here}/homes.csv: kind ('house') is not a number. Set 'data.categorical=[kind]'."
    ),
    "data=csv data.path=homes.csv data.features=[size] data.target=[price,kind]": (
        "{here}/homes.csv: kind ('house') is not a number. Set loss=sparse_categorical_crossentropy data.target=kind."
    ),
}


@pytest.mark.parametrize(("words", "sentence"), OWN_FILES.items(), ids=list(OWN_FILES))
def test_a_refusal_names_everything_to_change(calls: Calls, words: str, sentence: str, tmp_path: Path) -> None:
    rows = [
        f"{size},{'flat' if size % 2 else 'house'},2014-01-{size % 28 + 1:02},note {size},{size * 9}"
        for size in range(60)
    ]
    (tmp_path / "homes.csv").write_text("\n".join(["size,kind,sold,note,price", *rows]))
    (tmp_path / "README.md").write_text("# Homes\n")
    (tmp_path / "twins.csv").write_text("a,a\n1,2\n")
    (tmp_path / "rows").mkdir()
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    with pytest.raises(ConfigError) as refusal:
        run(*words.split())
    assert str(refusal.value) == sentence.format(here=tmp_path)
    assert calls == []


@pytest.mark.parametrize("launcher", ["fused", "basic"])
@pytest.mark.parametrize("word", ["chunksize=4,0", "learning_rate=0.1,abc", "model=linear,custom", "+data.x=1,2"])
def test_one_bad_configuration_refuses_the_sweep(calls: Calls, launcher: str, word: str) -> None:
    with pytest.raises(ConfigError):
        run("-m", f"hydra/launcher={launcher}", word)
    assert calls == []


def test_a_single_run(calls: Calls, tmp_path: Path) -> None:
    (ended,) = run("chunksize=full", "data.features=[a b]", "tracking.experiment=x y")
    (call,) = calls
    assert ended.config is call.configs[0]
    assert [(type(config), plain(config)) for config in call.configs] == [(Config, True)]
    assert call.command == "harness train chunksize=full 'data.features=[a b]' 'tracking.experiment=x y'"
    assert call.folder is None  # There is no summary run.
    (folder,) = tmp_path.glob("outputs/*/*")
    assert sorted(path.name for path in folder.iterdir()) == [".hydra", "train.log"]


def test_a_sweep_reaches_the_library_in_one_call(calls: Calls, tmp_path: Path) -> None:
    ended = run("-m", "chunksize=full,4", "learning_rate=0.1,0.2", "epochs=3")
    (call,) = calls
    grid = [(config.chunksize, config.learning_rate, config.epochs) for config in call.configs]
    assert grid == [("full", 0.1, 3), ("full", 0.2, 3), (4, 0.1, 3), (4, 0.2, 3)]
    assert all(type(config) is Config and plain(config) for config in call.configs)
    assert [one.config for one in ended] == call.configs
    (folder,) = tmp_path.glob("multirun/*/*")
    assert tmp_path / (call.folder or "") == folder
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "2", "3", "multirun.yaml"]
    for number, (chunksize, rate, epochs) in enumerate(grid):
        job = folder / str(number)
        overrides = [f"chunksize={chunksize}", f"learning_rate={rate}", f"epochs={epochs}"]
        assert OmegaConf.load(job / ".hydra" / "overrides.yaml") == overrides
        assert OmegaConf.load(job / ".hydra" / "config.yaml").chunksize == chunksize
        assert OmegaConf.load(job / ".hydra" / "hydra.yaml").hydra.job.num == number
        assert (job / "train.log").read_text().endswith(" - fake: FINISHED \n")


def test_a_job_whose_run_is_already_finished_has_no_folder(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeRun, "is_reused", True)
    assert len(run("-m", "chunksize=full,4")) == 2
    (folder,) = tmp_path.glob("multirun/*/*")
    assert sorted(path.name for path in folder.iterdir()) == ["multirun.yaml"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["experiment=house_prices"], "house_prices"),
        (["-m", "experiment=house_prices", "seed=0,1"], "house_prices"),
        (["experiment=house_prices", "tracking.experiment=mine"], "mine"),
        (["tracking.experiment=mine"], "mine"),
        ([], "harness"),
    ],
)
def test_runs_are_recorded_under_the_experiments_name(calls: Calls, words: list[str], name: str) -> None:
    run(*words)
    assert {config.tracking.experiment for call in calls for config in call.configs} == {name}


def test_a_sweep_of_the_conf_folder(calls: Calls) -> None:
    run("experiment=house_prices", "sweep=full_vs_batch", "epochs=2")
    (call,) = calls
    assert len(call.configs) == 12  # The epochs on the command line override the sweep's.
    assert {config.tracking.experiment for config in call.configs} == {"house_prices"}
    assert call.folder is not None


def test_other_launchers_train_one_by_one_into_the_same_folder(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr("harness.sweep.plan.prepare", lambda configs, progress, say: checked.append(len(configs)) or [])
    ended = run("-m", "hydra/launcher=basic", "chunksize=full,4", "learning_rate=0.1,0.2")
    assert checked == [4]
    assert [len(call.configs) for call in calls] == [1, 1, 1, 1]
    assert len({call.folder for call in calls}) == 1
    assert [one.config for one in ended] == [call.configs[0] for call in calls]


SPY = """
from hydra.experimental.callback import Callback

seen = []


class Spy(Callback):
    def on_multirun_start(self, config, **others):
        seen.append("sweep starts")

    def on_multirun_end(self, config, **others):
        seen.append("sweep ends")

    def on_job_start(self, config, **others):
        seen.append(f"{config.hydra.job.num} starts")

    def on_job_end(self, config, job_return, **others):
        seen.append((config.hydra.job.num, config.hydra.runtime.output_dir, job_return))
"""


@pytest.mark.parametrize("launcher", ["fused", "basic"])
def test_callbacks_see_each_job_with_what_it_returned(
    calls: Calls, launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"spy_{launcher}.py").write_text(SPY)
    monkeypatch.setattr("harness.sweep.plan.prepare", lambda configs, progress, say: [])
    words = [f"hydra/launcher={launcher}", "hydra.sweep.dir=out", f"+hydra.callbacks.spy._target_=spy_{launcher}.Spy"]
    monkeypatch.syspath_prepend(tmp_path)
    run("-m", *words, "chunksize=full,4", "learning_rate=0.1,1", "epochs=2")
    seen = importlib.import_module(f"spy_{launcher}").seen
    assert [event for event in seen if isinstance(event, str)] == [
        *("sweep starts", "0 starts", "1 starts", "2 starts", "3 starts", "sweep ends")
    ]
    ends = [event for event in seen if not isinstance(event, str)]
    grid = [("full", "0.1"), ("full", "1"), ("4", "0.1"), ("4", "1")]
    for number, ((ended, folder, job), (chunksize, rate)) in enumerate(zip(ends, grid, strict=True)):
        assert (ended, folder) == (number, str(tmp_path / "out" / str(number)))
        assert job.status is JobStatus.COMPLETED
        assert job.return_value == (0.1 if rate == "0.1" else math.inf)
        assert list(job.overrides) == [f"chunksize={chunksize}", f"learning_rate={rate}", "epochs=2"]
        assert (str(job.cfg.chunksize), job.cfg.epochs, "hydra" in job.cfg) == (chunksize, 2, False)
        assert (job.hydra_cfg.hydra.job.num, job.working_dir) == (number, str(tmp_path))
        hydra_folder = tmp_path / "out" / str(number) / ".hydra"
        assert sorted(path.name for path in hydra_folder.iterdir()) == ["config.yaml", "hydra.yaml", "overrides.yaml"]
        assert OmegaConf.load(hydra_folder / "overrides.yaml") == list(job.overrides)


def test_the_files_of_a_job_have_the_content_that_hydra_would_write(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spy_files.py").write_text(SPY)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["chunksize=full,4", "data.features=['1e5',b,'yes','.5','é',null_]", "tracking.log_model=all"]
    words += ["tracking.experiment='0x1F'", "+model.a=[.inf,1e-7,null,'2026-01-02']", "epochs=3"]
    # With a callback, Hydra writes them itself.
    spy = "+hydra.callbacks.spy._target_=spy_files.Spy"
    for folder, more in (("ours", []), ("hydras", [spy])):
        run("-m", "hydra.sweep.dir=out", *words, *more)
        (tmp_path / "out").rename(folder)
    for number in range(2):
        for name in ("config.yaml", "overrides.yaml", "hydra.yaml"):
            ours, hydras = (
                OmegaConf.to_container(OmegaConf.load(tmp_path / folder / f"{number}/.hydra/{name}"))
                for folder in ("ours", "hydras")
            )
            if name == "hydra.yaml":
                assert hydras["hydra"].pop("callbacks")
                assert ours["hydra"].pop("callbacks") == {}
                hydras["hydra"]["overrides"]["hydra"].remove(spy)
            assert ours == hydras


class TwoBatches(Sweeper):
    """Proposes two learning rates, then chunks with the better one."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        OmegaConf.save(self.config, Path(self.config.hydra.sweep.dir).absolute().with_suffix(".yaml"))
        first = self.launcher.launch([[*arguments, f"learning_rate={rate}"] for rate in (1, 0.2, 0.1)], 0)
        best = min(first, key=lambda job: job.return_value)
        second = self.launcher.launch([[*best.overrides, f"chunksize={chunk}"] for chunk in (4, 5)], len(first))
        return [*first, *second]


@pytest.mark.parametrize("launcher", ["fused", "basic"])
def test_another_sweeper_continues_from_the_objectives(
    calls: Calls, launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hydra accepts plugins only from this package.
    monkeypatch.setitem(sys.modules, "hydra_plugins.two_batches", sys.modules[__name__])
    monkeypatch.setattr(TwoBatches, "__module__", "hydra_plugins.two_batches")
    Plugins.instance().register(TwoBatches)
    node = {"_target_": "hydra_plugins.two_batches.TwoBatches"}
    ConfigStore.instance().store("two_batches", node, group="hydra/sweeper")
    run("-m", "hydra/sweeper=two_batches", f"hydra/launcher={launcher}", "hydra.sweep.dir=out", "epochs=3")
    batches = [[(config.learning_rate, config.chunksize) for config in call.configs] for call in calls]
    first, second = [(1.0, 100), (0.2, 100), (0.1, 100)], [(0.1, 4), (0.1, 5)]
    assert batches == ([first, second] if launcher == "fused" else [[each] for each in first + second])
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == [*"01234"]
    assert OmegaConf.load(tmp_path / "out" / "4" / ".hydra" / "hydra.yaml").hydra.job.num == 4


class Halving:
    """Halves the learning rate until the result gets worse."""

    def propose(self, results: Sequence[Result]) -> Sequence[Sequence[str]]:
        if len(results) > 1 and results[-1].objective > results[-2].objective:
            return []
        return [[f"learning_rate={0.8 / 2 ** len(results)}", "epochs=3"]]


@pytest.mark.parametrize("launcher", ["fused", "basic"])
def test_a_proposer_sees_the_results_so_far(
    calls: Calls, launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Learner(FakeRun):
        @property
        def cost(self) -> float:
            return abs(self.config.learning_rate - 0.3)

    monkeypatch.setattr("tests.cli.test_train.FakeRun", Learner)
    monkeypatch.setattr("harness.sweep.plan.prepare", lambda configs, progress, say: [])
    Plugins.instance()
    plugin = sys.modules["hydra_plugins.harness_plugin"]
    monkeypatch.setattr(plugin, "Grid", lambda axes, batch: Halving())
    run("-m", f"hydra/launcher={launcher}", "hydra.sweep.dir=out")
    assert [[config.learning_rate for config in call.configs] for call in calls] == [[0.8], [0.4], [0.2], [0.1]]
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == [*"0123"]


@pytest.mark.parametrize("launcher", ["fused", "basic"])
def test_hydras_own_sweeper(calls: Calls, launcher: str) -> None:
    run("-m", "hydra/sweeper=basic", f"hydra/launcher={launcher}", "chunksize=full,4", "hydra.sweeper.max_batch_size=1")
    assert [[config.chunksize for config in call.configs] for call in calls] == [["full"], [4]]


@pytest.mark.parametrize(
    ("words", "commands"),
    [
        (["chunksize=full", "data.features=[a b]"], ["chunksize=full 'data.features=[a b]'"]),
        (["-m", "seed=0,1", "epochs=2"], ["seed=0 epochs=2", "seed=1 epochs=2"]),
        (["-m", "seed=0", "hydra.sweep.dir=out"], ["seed=0"]),
        (["--config-dir", "own", "seed=1"], ["--config-dir own seed=1"]),
        (["--config-dir=own", "seed=1"], ["--config-dir=own seed=1"]),
        (
            ["experiment=house_prices", "sweep=full_vs_batch", "epochs=2", "learning_rate=0.1", "chunksize=full,4"],
            [
                f"chunksize={chunk} learning_rate=0.1 epochs=2 experiment=house_prices sweep=full_vs_batch "
                "hydra.mode=RUN"
                for chunk in ("full", "4")
            ],
        ),
    ],
)
def test_each_run_has_a_command_that_trains_it_alone(
    calls: Calls, words: list[str], commands: list[str], tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    run(*words)
    (call,) = calls
    assert call.commands == [f"harness train {command}" for command in commands]
    for config, command in zip(call.configs, call.commands, strict=True):
        run(*shlex.split(command)[2:])
        again = calls.pop()
        assert (again.configs, again.folder) == ([config], None)


@pytest.mark.parametrize("words", [["chunksize=4"], ["-m", "seed=0,1,2"], ["-m", "seed=0,1,2", "hydra/launcher=basic"]])
def test_an_error_in_training_is_raised_unchanged_and_ends_the_sweep(
    calls: Calls, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    def fail(sweep: object, configs: Sequence[Config], *others: object) -> None:
        tried.append(configs)
        raise OSError("the disk is full")

    monkeypatch.setattr("harness.sweep.runner.Sweep.train", fail)
    monkeypatch.setattr("harness.sweep.plan.prepare", lambda configs, progress, say: [])
    with pytest.raises(OSError, match="the disk is full"):
        run(*words)
    assert len(tried) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_raised(calls: Calls, stop: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*others: object, **named: object) -> None:
        raise stop

    monkeypatch.setattr("harness.sweep.runner.Sweep.train", interrupt)
    for words in (["chunksize=4"], ["-m", "seed=0,1"]):
        with pytest.raises(stop):
            run(*words)


def test_the_configuration_can_be_printed(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--cfg", "job", "chunksize=7") == []
    shown = OmegaConf.create(capsys.readouterr().out)
    assert config_of(OmegaConf.merge(schema_of(shown.data), shown)) == settings("chunksize=7")
    assert calls == []


@pytest.fixture
def own_conf(tmp_path: Path) -> Callable[[str], Path]:
    """A user's configuration, outside the checkout."""

    def write(text: str) -> Path:
        path = tmp_path / "own" / "experiment" / "mine.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# @package _global_\n" + text)
        return path.parent.parent

    return write


def test_a_folder_of_configurations_is_added(calls: Calls, own_conf: Callable[[str], Path]) -> None:
    folder = own_conf("defaults:\n  - override /optimizer: sgd\nchunksize: 7\ntracking:\n  experiment: mine\n")
    run("--config-dir", str(folder), "experiment=mine", "epochs=2")
    config = calls[0].configs[0]
    assert (config.chunksize, config.epochs, config.tracking.experiment) == (7, 2, "mine")
    assert config.optimizer["name"] == "sgd"


def test_a_conf_folder_in_the_working_folder_is_added(
    calls: Calls, own_conf: Callable[[str], Path], tmp_path: Path
) -> None:
    own_conf("chunksize: 7\n").rename(tmp_path / "conf")
    run("experiment=mine", "epochs=2")
    config = calls[0].configs[0]
    assert (config.chunksize, config.epochs, config.tracking.experiment) == (7, 2, "mine")


def test_a_typo_in_a_users_configuration_is_found(calls: Calls, own_conf: Callable[[str], Path]) -> None:
    folder = own_conf("chunksze: 7\n")
    with pytest.raises(ConfigError, match="chunksze"):
        run("--config-dir", str(folder), "experiment=mine")
    assert calls == []


def test_a_model_may_be_in_the_working_folder(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "model_that_lies_here.py").write_text("def build(inputs): ...\n")
    run("model=custom", "--trust", "model._target_=model_that_lies_here.build")
    from harness.runtime.imports import find_target

    assert find_target("model_that_lies_here.build").__name__ == "build"
