"""The harness as Hydra finds it: a launcher that trains a whole batch of jobs together, and a sweeper to go with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from harness.cli.compose import compose_jobs, task_config
from harness.cli.hide_passwords import SWEEP_FILES, hide_passwords
from harness.cli.jobs import files_in_parts

log = logging.getLogger(__name__)


class FusedLauncher(Launcher):
    """Composes all jobs, trains them in as few scans as can be, and then lets Hydra run each job around its result."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train the jobs; each job's folder, log and callbacks follow once its numbers are there."""
        setup_globals()
        configs = compose_jobs(self._context.config_loader, self._config, job_overrides, initial_job_idx)
        app = self._task.app  # type: ignore[attr-defined]  # `harness.cli.train.run` put it there.
        folder = Path(self._config.hydra.sweep.dir)
        hide_passwords(folder, SWEEP_FILES)
        runs = app.train(configs, folder)
        if app.previews:
            return []
        with files_in_parts():
            return [
                run_job(
                    hydra_context=self._context,
                    task_function=_reporter(run),
                    config=config,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
                for config, run in zip(configs, runs, strict=True)
            ]


class HarnessSweeper(BasicSweeper):
    """Hydra's grid; the fused launcher checks all jobs before it trains any, and for other launchers this does."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._app = task_function.app  # type: ignore[attr-defined]  # `harness.cli.train.run` put it there.

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Check all jobs and their data, unless the launcher will."""
        if not self.hydra_context or not self.config:
            return
        hide_passwords(Path(self.config.hydra.sweep.dir), SWEEP_FILES)  # In what the sweep's folder was just given.
        if isinstance(self.launcher, FusedLauncher):
            return
        configs = compose_jobs(self.hydra_context.config_loader, self.config, batch, 0)
        self._app.check([task_config(config) for config in configs])


def _reporter(run: Any) -> TaskFunction:
    """Return the task of a job whose run has ended: it writes the job's log and returns the objective."""

    def report(_: DictConfig) -> float:
        log.info("%s: %s %s", run.name, run.status, run.reason)
        return run.objective

    return report


for group, name, target in (
    ("hydra/launcher", "fused", FusedLauncher),
    ("hydra/sweeper", "harness", HarnessSweeper),
):
    node: dict[str, Any] = {"_target_": f"{target.__module__}.{target.__qualname__}"}
    if target is HarnessSweeper:
        node |= {"max_batch_size": None, "params": {}}
    ConfigStore.instance().store(name, node, group=group, provider="harness")
