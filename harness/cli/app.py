"""`App`: the task function of `harness train`, which the sweeper and launcher in `hydra_plugins` share."""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from harness.cli.compose import Job
from harness.cli.environment import check_environment
from harness.cli.job_configs import addresses, check_folder, to_config, with_names
from harness.cli.job_files import JOB_FILES, SWEEP_FILES, hide_passwords, job_folder
from harness.cli.job_results import JobResult, run_ids
from harness.cli.trust import OPTION, import_models
from harness.config import Config
from harness.errors import ConfigError, require
from harness.formatting import count
from harness.runtime.secrets import masked, remember, remember_environment

if TYPE_CHECKING:
    from harness.cli.startup import Startup
    from harness.sweep.display import Display
    from harness.sweep.plan import Run
    from harness.sweep.runner import Sweep
    from harness.sweep.search.search import Search
    from harness.sweep.tasks.cluster import Cluster


_LABELS = ("tracking.name=", "tracking.note=", "tracking.tags.")
"""Overrides that name or describe a whole sweep."""


class App:
    """One call of `harness train`; used as a context manager, it ends the sweep on exit."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        previews: bool = False,
        owns_process: bool = True,
        startup: Startup | None = None,
    ) -> None:
        """Store command-line arguments; the app tunes the garbage collector only if the process is its own."""
        self._startup = startup
        self.folder: Path | None = None  # The sweep's folder; None for a single run.
        self.runs: list[Run] = []  # The runs that have ended.
        self.composed = False  # True once Hydra has composed the jobs; later errors are not about arguments.
        self.previews = previews  # If True, train nothing; `preview` prints what would be trained.
        self.error: Exception | None = None  # The error that ended training, for the caller to raise.
        remember(*arguments)
        self._arguments = list(arguments)
        self._command = shlex.join(["harness", "train", *map(masked, arguments)])
        self._configs: list[Config] = []
        self._signatures: list[str] = []
        self._options = _options_of(arguments)
        self.worker_options = [OPTION] if OPTION in arguments else []
        self.search: Search | None = None  # Proposes the jobs, unless they are a grid.
        self.cluster: Callable[[], Cluster] | None = None  # The cluster on which workers train.
        self._sweep: Sweep | None = None
        self._owns_process = owns_process
        self._is_copy = False  # True if a launcher has sent this object to another process.
        self.one_by_one = False  # True if a launcher trains each job on its own.
        self.collects = False  # True if the sweeper collects runs trained by other processes.

    @property
    def sweep_id(self) -> str:
        """The id of the sweep's summary run; empty if there is none."""
        from harness.sweep.summary_state import SummaryState

        return SummaryState.read(self.folder, print).run_id if self.folder else ""

    def __enter__(self) -> App:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        sweep, self._sweep = self._sweep, None
        if sweep:
            sweep.__exit__(kind, error, traceback)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state that a launcher sends to another process, where each job is trained on its own."""
        if not self.collects:
            self.error = ConfigError(
                "The launcher trains in other processes, which works only with hydra/sweeper=harness. Remove "
                "hydra/sweeper or hydra/launcher."
            )
            raise self.error
        here = {"_startup": None, "_sweep": None, "_configs": [], "runs": [], "search": None, "_is_copy": True}
        return self.__dict__ | here

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        remember(*self._arguments)
        remember_environment()

    def __call__(self, config: DictConfig) -> float:
        """Train the job that Hydra runs, and return the deciding metric, signed so that lower is better."""
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.sweep.dir) if hydra_config.mode is RunMode.MULTIRUN else None
        hide_passwords(folder, SWEEP_FILES)
        hide_passwords(job_folder(hydra_config), JOB_FILES)
        self.one_by_one = folder is not None
        if self.error:
            return math.inf
        job = config.copy()
        with open_dict(job):
            job.hydra = hydra_config
        try:
            # With hydra.job.chdir, this is the job's folder; paths are relative to where the command was started.
            with contextlib.chdir(hydra_config.runtime.cwd):
                if self._is_copy:
                    return self._train_alone(Job.of(job))
                ended = self.train([Job.of(job)], folder)
        except Exception as error:
            if self._is_copy:
                raise
            # Hydra would print its own message and continue with the next job, so the caller raises the error.
            self.error = error
            return math.inf
        return JobResult(ended[0].cost, ended[0].run_id) if ended else math.inf

    def check(self, jobs: Sequence[Job]) -> None:
        """Check jobs and their data before a launcher trains them one by one."""
        settings = self._checked(jobs)
        from harness.runtime.device import choose_device
        from harness.sweep.plan import prepare

        choose_device(settings[0].runtime)  # Checking an optimizer starts TensorFlow, whose settings are then fixed.
        display = _new_display()
        self._signatures = [run.signature for run in prepare(settings, display.reading, display.say)]
        display.clear()

    def train(self, jobs: Sequence[Job], folder: Path | None) -> list[Run]:
        """Train jobs together and return their runs, in order; all calls belong to one sweep."""
        self.folder = folder
        configs = self._checked(jobs)
        if self.previews:
            self._configs += configs
            return []
        with self._open_sweep() as sweep:
            runs = sweep.train(configs, [self._command_of(job) for job in jobs])
            self.runs += runs
        return runs

    def collect(self, jobs: Sequence[Job], ended: Sequence[JobReturn], folder: Path, launcher: str) -> None:
        """Add to the sweep the jobs that a launcher has trained in other processes; raise a failed job's error."""
        self.folder = folder
        ids = run_ids(ended, len(jobs), launcher)
        configs = with_names([to_config(job) for job in jobs], _new_display)
        with self._open_sweep() as sweep:
            self.runs += sweep.collect(configs, ids)

    def _train_alone(self, job: Job) -> JobResult:
        """Train one job in a process that a launcher started; it is a sweep of its own until the runs are collected."""
        configs = self._checked([job])
        from harness.sweep import runner

        with runner.Sweep(_new_display(), command=self._command, is_part=True) as sweep:
            (run,) = sweep.train(configs, [self._command_of(job)])
        return JobResult(run.cost, run.run_id)

    @contextlib.contextmanager
    def _open_sweep(self) -> Iterator[Sweep]:
        """Start or continue the sweep; an error in the block ends it."""
        from harness.sweep import runner

        if self._sweep is None:
            self._sweep = runner.Sweep(
                _new_display(),
                command=self._command,
                folder=self.folder,
                signatures=self._signatures,
                search=self.search,
                cluster=self.cluster and self.cluster(),
            )
        try:
            yield self._sweep
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def preview(self) -> None:
        """Print what training the jobs would do."""
        from harness.sweep.preview import preview

        if self._configs:
            cluster = self.cluster and self.cluster()
            preview(self._configs, _new_display(), self.search, cluster, one_by_one=self.one_by_one)

    def tune(self) -> None:
        """Measure which tiles train the jobs fastest."""
        require(
            self.cluster is None, "Workers use the default tiles, so there is nothing to tune. Remove hydra/launcher."
        )
        require(
            not self.one_by_one,
            "This launcher trains each run on its own, but tiles are for runs that are trained together. Remove "
            "hydra/launcher.",
        )
        from harness.sweep.tune import tune

        if self._configs:
            tune(self._configs, _new_display())

    def _command_of(self, job: Job) -> str:
        """Return the command that trains a job alone."""
        own = [word for word in job.words if not word.lstrip("+").startswith(_LABELS)]
        words = ["harness", "train", *self._options, *own]
        if job.choices.get("sweep"):
            words.append("hydra.mode=RUN")  # A sweep file may set more than its axes, so its override is kept.
        return shlex.join(map(masked, words))

    def _checked(self, jobs: Sequence[Job]) -> list[Config]:
        self.composed = True
        check_environment()
        configs = [to_config(job) for job in jobs]
        remember(*{address for config in configs for address in addresses(config)})
        for cache in {config.runtime.cache for config in configs}:
            check_folder("runtime.cache", cache)
        configs = with_names(configs, _new_display)
        self._check_sources(configs)
        self._show("loading TensorFlow")
        import_models(configs, is_trusted=bool(self.worker_options))
        if self._startup:
            self._startup.end()
        if self._owns_process:
            gc.freeze()  # Collecting garbage among the objects loaded by now would take a second in a sweep of 64.
        return configs

    def _check_sources(self, configs: Sequence[Config]) -> None:
        """Check what can be checked without TensorFlow, which takes seconds to load."""
        self._show(f"checking {count(len(configs), 'configuration')} and the first rows of the data")
        from harness.data.profiling.first_rows import check_first_rows

        for config in {(repr(config.data), config.loss): config for config in configs}.values():
            check_first_rows(config.data, config.loss)

    def _show(self, phase: str) -> None:
        if self._startup:
            self._startup.phase(phase)


def _new_display() -> Display:
    from harness.sweep.display import Display  # Rich takes a moment to import.

    return Display()


def _options_of(arguments: Sequence[str]) -> list[str]:
    """Return the options that each job also needs: --trust, and the location of its configuration."""
    found = [OPTION] if OPTION in arguments else []
    for word, following in itertools.pairwise([*arguments, ""]):
        name, equals, _ = word.partition("=")
        if name in ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"):
            found += [word] if equals else [word, following]
    return found
