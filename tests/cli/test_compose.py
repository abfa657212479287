"""Jobs composed together equal those that Hydra composes one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.initialize import initialize_config_dir
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue

from harness.cli.compose import CONF, Job, compose_jobs, grid_axes, register_schema
from harness.errors import ConfigError

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
    "missing": [["data=csv", "seed=1"], ["data=csv", "seed=2"]],
    "a group's values": [["optimizer=sgd", "optimizer.momentum=0.1"], ["optimizer=sgd", "optimizer.momentum=0.2"]],
}


@pytest.fixture
def loader():
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
        yield GlobalHydra.instance().config_loader()


def settings(job: Job) -> object:
    """Return a job's settings, or what is wrong with them."""
    try:
        return job.settings()
    except (ConfigError, MissingMandatoryValue) as error:
        return str(error)


@pytest.mark.parametrize("jobs", JOBS.values(), ids=JOBS)
def test_equals_hydra(loader, jobs):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    composed = compose_jobs(loader, master, jobs, first_number=5)
    for number, (job, words) in enumerate(zip(composed, jobs, strict=True), 5):
        expected = loader.load_sweep_config(master, list(words))
        with open_dict(expected):
            expected.hydra.job.id = expected.hydra.job.num = number
        assert OmegaConf.to_yaml(job.whole()) == OmegaConf.to_yaml(expected)
        assert job.whole().hydra.job.override_dirname == ",".join(sorted(words))
        assert job.words == list(expected.hydra.overrides.task)
        assert OmegaConf.to_yaml(job.config) == OmegaConf.to_yaml(Job.of(expected).config)
        assert settings(job) == settings(Job.of(expected))


def test_jobs_that_differ_in_values_only_are_composed_once(loader):
    class Counting:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(loader, name)

        def load_sweep_config(self, *words: Any) -> Any:
            self.calls += 1
            return loader.load_sweep_config(*words)

    counting = Counting()
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    jobs = [[f"chunksize={chunk}", f"epochs={epochs}"] for chunk in range(1, 9) for epochs in range(1, 9)]
    composed = compose_jobs(counting, master, jobs, 0)  # type: ignore[arg-type]
    assert [job.config.chunksize * 10 + job.config.epochs for job in composed] == [
        chunk * 10 + epochs for chunk in range(1, 9) for epochs in range(1, 9)
    ]
    assert counting.calls == 1


def test_an_interpolation_is_resolved_in_each_job(loader):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    jobs = [["++model.units=${seed}", f"seed={seed}"] for seed in (1, 2)]
    composed = compose_jobs(loader, master, jobs, 0)
    assert [job.settings().model["units"] for job in composed] == [1, 2]


def test_the_axes_of_a_grid(loader):
    words = [
        "chunksize=full,4",
        "seed=7",
        "epochs=range(1,4)",
        "optimizer=glob(adam*)",
        "+model.x=1,2",
        "chunksize=5,6",
    ]
    assert grid_axes(loader, [*words, "chunksize=5,6"]) == [
        ["chunksize=5", "chunksize=6"],
        ["seed=7"],
        ["epochs=1", "epochs=2", "epochs=3"],
        ["optimizer=adam", "optimizer=adamax", "optimizer=adamw"],
        ["+model.x=1", "+model.x=2"],
    ]


def test_an_interval_is_refused_as_an_axis(loader):
    with pytest.raises(ConfigError, match=r"learning_rate=interval\(0,1\): a grid needs choices or a range"):
        grid_axes(loader, ["learning_rate=interval(0,1)"])
