"""Jobs composed together are what Hydra composes one by one."""

from __future__ import annotations

import contextlib
import copy

import pytest
from hydra._internal.hydra import Hydra
from hydra.core import utils
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from harness.cli.compose import CONF, compose_jobs
from harness.cli.jobs import files_in_parts
from harness.config import Config

JOBS = {
    "values": [
        ["chunksize=full", "learning_rate=0.1"],
        ["chunksize=7", "learning_rate=1"],
        ["chunksize=8", "learning_rate=1e-3"],
    ],
    "groups": [
        ["model=linear", "epochs=1"],
        ["model=mlp", "epochs=2"],
        ["model=linear", "epochs=3"],
        ["model=mlp", "epochs=4"],
    ],
    "lists": [["data.features=[a,b]", "seed=1"], ["data.features=[c]", "seed=2"]],
    "mappings": [["optimizer={beta_1: 0.1}"], ["optimizer={beta_2: 0.2}"]],
    "added": [["+model.units=3"], ["+model.activation=relu"]],
    "experiments": [["experiment=house_prices", "epochs=1"], ["sweep=full_vs_batch", "epochs=1"]],
    "other keys": [["epochs=1", "seed=3"], ["epochs=2"]],
    "quoted": [["data.target='a b'"], ["data.target='c,d'"]],
    "dotted": [["data.holdout=0.1", "model.init=1"], ["data.holdout=0.2", "model.init=2"]],
    "a group's values": [["optimizer=sgd", "optimizer.momentum=0.1"], ["optimizer=sgd", "optimizer.momentum=0.2"]],
}


@pytest.fixture
def loader():
    setup_globals()
    ConfigStore.instance().store("schema", Config)
    hydra = Hydra.create_main_hydra_file_or_module(None, "harness.cli.train", str(CONF), "train")
    yield hydra.config_loader
    GlobalHydra.instance().clear()


@pytest.mark.parametrize("jobs", JOBS.values(), ids=JOBS)
def test_equals_hydra(loader, jobs):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    composed = compose_jobs(loader, master, jobs, first_number=5)
    for number, (config, job) in enumerate(zip(composed, jobs, strict=True), 5):
        expected = loader.load_sweep_config(master, list(job))
        with open_dict(expected):
            expected.hydra.job.id = expected.hydra.job.num = number
        assert OmegaConf.to_yaml(config) == OmegaConf.to_yaml(copy.deepcopy(config)) == OmegaConf.to_yaml(expected)
        assert copy.deepcopy(config.hydra)._get_parent() is config
        assert config.hydra.job.override_dirname == ",".join(sorted(job))


def test_values_are_copied_not_composed(loader, monkeypatch):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    calls = []
    load = type(loader).load_sweep_config
    monkeypatch.setattr(type(loader), "load_sweep_config", lambda *args: calls.append(1) or load(*args))
    jobs = [[f"chunksize={chunk}", f"epochs={epochs}"] for chunk in range(1, 9) for epochs in range(1, 9)]
    assert [config.chunksize * 10 + config.epochs for config in compose_jobs(loader, master, jobs, 0)] == [
        chunk * 10 + epochs for chunk in range(1, 9) for epochs in range(1, 9)
    ]
    assert len(calls) == 1


@pytest.mark.parametrize("jobs", JOBS.values(), ids=JOBS)
def test_files_in_parts_are_hydras(loader, jobs, tmp_path):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    for number, config in enumerate(compose_jobs(loader, master, jobs, first_number=0)):
        own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        hydras = OmegaConf.masked_copy(config, "hydra")
        for file, part in {"own": own, "hydra": hydras, "overrides": config.hydra.overrides.task}.items():
            saved = {}
            for way in ("hydra", "parts"):
                with files_in_parts() if way == "parts" else contextlib.nullcontext():
                    utils._save_config(part, file, tmp_path / way / str(number))
                saved[way] = (tmp_path / way / str(number) / file).read_text()
            assert saved["parts"] == saved["hydra"]


def test_files_in_parts_have_no_passwords(tmp_path):
    config = OmegaConf.create({"tracking": {"uri": "mysql://me:secret@host/db"}})
    with files_in_parts():
        utils._save_config(config, "config.yaml", tmp_path)
    assert (tmp_path / "config.yaml").read_text() == "tracking:\n  uri: mysql://me:***@host/db\n"
