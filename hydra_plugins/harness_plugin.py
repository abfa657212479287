"""Hydra plugins: the fused launcher, the sweeper that trains proposals, and the user's own `conf` folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from harness.cli.app import App
from harness.cli.compose import CONF, Job, compose_jobs, fold_words, grid_axes
from harness.cli.job_files import JOB_FILES, SWEEP_FILES, hide_passwords, job_folder, write_job_files
from harness.cli.search_words import search_of
from harness.config.launchers import RayConfig, SlurmConfig, WorkersConfig
from harness.errors import require
from harness.sweep.proposer import Grid, Proposer, Result

log = logging.getLogger(__name__)


class FusedLauncher(Launcher):
    """Composes all jobs, trains them in as few scans as possible, then ends each job with its result."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what Hydra passes in."""
        self._context, self._app, self._config = hydra_context, _app(task_function), config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train the jobs together, then write the folder of each job that was trained."""
        setup_globals()
        jobs = compose_jobs(self._context.config_loader, self._config, job_overrides, initial_job_idx)
        folder = Path(self._config.hydra.sweep.dir)
        hide_passwords(folder, SWEEP_FILES)
        runs = self._app.train(jobs, folder)
        if self._app.previews:
            return []
        return [self._run_job(job, run) for job, run in zip(jobs, runs, strict=True)]

    def _run_job(self, job: Job, run: Any) -> JobReturn:
        """End a job whose run has ended; Hydra does this if there are callbacks or a custom logging configuration."""
        if self._config.hydra.callbacks or job.choices.get("hydra/job_logging") != "harness":
            return run_job(
                hydra_context=self._context,
                task_function=_reporter(run),
                config=job.whole(),
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        if not run.is_reused:
            write_job_files(job.whole(), f"{run.name}: {run.status} {run.reason}")
        ended = JobReturn(job.words, job.config, None, str(Path.cwd()), self._config.hydra.job.name)
        ended.status, ended.return_value = JobStatus.COMPLETED, run.cost
        return ended


class TasksLauncher(FusedLauncher):
    """Like `FusedLauncher`, but divides the jobs into tasks for workers."""

    keys: type

    def __init__(self, **keys: Any) -> None:
        """Store the configuration in `hydra.launcher`."""
        self._keys = self.keys(**keys)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Tell the app where to train, then launch as `FusedLauncher` does."""
        self._app.cluster = partial(self._cluster, self._app.worker_options)
        return super().launch(job_overrides, initial_job_idx)

    def _cluster(self, options: Sequence[str]) -> Any:
        """Return the cluster that runs the workers, given the options of their command."""
        raise NotImplementedError


class WorkersLauncher(TasksLauncher):
    """Workers are processes on this machine."""

    keys = WorkersConfig

    def _cluster(self, options: Sequence[str]) -> Any:
        from harness.sweep.tasks.cluster import Workers

        return Workers(self._keys, options)


class SlurmLauncher(TasksLauncher):
    """Workers are jobs on a Slurm cluster."""

    keys = SlurmConfig

    def _cluster(self, options: Sequence[str]) -> Any:
        from harness.sweep.tasks.slurm import Slurm

        return Slurm(self._keys, options)


class RayLauncher(TasksLauncher):
    """Workers are actors on a Ray cluster."""

    keys = RayConfig

    def _cluster(self, options: Sequence[str]) -> Any:
        from harness.sweep.tasks.ray import Ray

        return Ray(self._keys, options)


class HarnessSweeper(Sweeper):
    """Trains a proposer's configurations; checks all jobs of a batch before training the first."""

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None) -> None:
        """Store the options of Hydra's basic sweeper."""
        self._batch, self._params = max_batch_size, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what Hydra passes in, and create the launcher."""
        self.hydra_context, self.config, self._app = hydra_context, config, _app(task_function)
        self._loader = hydra_context.config_loader
        self._launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.launcher = self._launcher

    def proposer(self, words: Sequence[str]) -> Proposer:
        """Return the proposer of configurations for the sweep's overrides: a search if there is an interval."""
        config: Any = self.config
        if search := search_of(self._loader, words, config):
            self._app.search = search
            fused = type(self._launcher) is FusedLauncher
            together = (
                "search=halving compares runs that are trained together. Remove hydra/launcher, or use search=sobol."
            )
            require(fused or not search.rungs(search.generation), together)
            clock = "search.minutes does not work with hydra/launcher. Remove one, or set search.trials instead."
            require(fused or not search.budget, clock)
            return search
        return Grid(grid_axes(self._loader, words), self._batch)

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Train batches until nothing more is proposed."""
        config: Any = self.config
        words = [*(f"{key}={value}" for key, value in self._params.items()), *arguments]
        proposer = self.proposer([*words, *fold_words(config, words)])
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, folder / "multirun.yaml")
        hide_passwords(folder, SWEEP_FILES)
        jobs: list[JobReturn] = []
        results: list[Result] = []
        while batch := proposer.propose(results):
            ended = self._train(batch, folder, len(results))
            jobs += ended
            objectives = [job.return_value for job in ended] if ended else [float("inf")] * len(batch)
            runs = self._app.runs[len(results) :] if self._app.search else []
            new = [Result(tuple(words), value) for words, value in zip(batch, objectives, strict=True)]
            if runs:
                known = zip(new, runs, strict=True)
                new = [
                    replace(each, pruned_at=run.pruned_at, is_seeded=partial(_is_seeded, run)) for each, run in known
                ]
            results += new
            if self._app.previews and self._app.search:
                break  # The results determine which trials are confirmed.
        return jobs

    def _train(self, batch: Sequence[Sequence[str]], folder: Path, number: int) -> Sequence[JobReturn]:
        """Train a batch with the launcher; `number` is that of its first job."""
        if isinstance(self._launcher, FusedLauncher):  # The launcher checks the jobs itself.
            return self._launcher.launch(batch, initial_job_idx=number)
        self._app.one_by_one = True
        config: Any = self.config
        jobs, before = compose_jobs(self._loader, config, batch, number), len(self._app.runs)
        if self._app.previews:
            self._app.train(jobs, folder)
            return []
        self._app.check(jobs)
        self._app.collects = True
        ended = self._launcher.launch(batch, initial_job_idx=number)
        if len(self._app.runs) == before and not self._app.error:  # The jobs were trained in other processes.
            self._app.collect(jobs, ended, folder, config.hydra.runtime.choices["hydra/launcher"])
        return ended


class OwnConf(SearchPathPlugin):
    """Adds the working folder's `conf`, if there is one, to Hydra's search path, as --config-dir would."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append it after the harness's own `conf`; other Hydra applications are not affected."""
        folder = Path.cwd() / "conf"
        is_ours = any(element.path == str(CONF) for element in search_path.get_path())
        if is_ours and folder.is_dir() and folder.resolve() != CONF:
            search_path.append("working folder", f"file://{folder}")


def _app(task_function: TaskFunction) -> App:
    if not isinstance(task_function, App):
        raise TypeError("The launcher `fused` and the sweeper `harness` are for `harness train` only.")
    return task_function


def _is_seeded(run: Any) -> bool:
    from harness.sweep.search.seeds import is_seeded  # It imports TensorFlow.

    return is_seeded(run)


def _reporter(run: Any) -> TaskFunction:
    """Return the task function of a job whose run has ended: it writes the job's log and returns its cost."""

    def report(_: DictConfig) -> float:
        hide_passwords(job_folder(HydraConfig.get()), JOB_FILES)
        log.info("%s: %s %s", run.name, run.status, run.reason)
        return run.cost

    return report


for group, name, node in (
    ("hydra/launcher", "fused", {"_target_": f"{__name__}.FusedLauncher"}),
    ("hydra/launcher", "workers", {"_target_": f"{__name__}.WorkersLauncher", **asdict(WorkersConfig())}),
    ("hydra/launcher", "slurm", {"_target_": f"{__name__}.SlurmLauncher", **asdict(SlurmConfig())}),
    ("hydra/launcher", "ray", {"_target_": f"{__name__}.RayLauncher", **asdict(RayConfig())}),
    ("hydra/sweeper", "harness", {"_target_": f"{__name__}.HarnessSweeper", "max_batch_size": None, "params": {}}),
):
    ConfigStore.instance().store(name, node, group=group, provider="harness")
