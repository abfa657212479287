"""`harness train` as a Hydra application: from the command line's words to configurations, and on to the sweep.

TensorFlow and MLflow are imported when there is something to train, not before.
"""

from __future__ import annotations

import itertools
import math
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from harness.cli.compose import CONF, task_config
from harness.cli.hide_passwords import JOB_FILES, SWEEP_FILES, folder_of_job, hide_passwords, logged_without_passwords
from harness.cli.hydra_errors import check_keys, explain
from harness.cli.trust import WORD, check_functions, check_packages
from harness.config import Config
from harness.errors import ConfigError, require
from harness.runtime.imports import add_cwd_to_path, import_tensorflow
from harness.runtime.memory import freeze_gc, reduce_gc, tune_malloc

if TYPE_CHECKING:
    from harness.sweep.plan import Run
    from harness.sweep.runner import Sweep


class App:
    """One call of `harness train`: what Hydra's task function, sweeper and launcher share.

    Attributes:
        command: The words of the call.
        runs: The runs that have ended so far.
        composed: Whether Hydra has done its part, and what goes wrong is no longer for its words.
        previews: Whether nothing is to be trained or recorded, only said what would be.
    """

    def __init__(self, arguments: Sequence[str], *, previews: bool = False) -> None:
        self.command = shlex.join(["harness", "train", *arguments])
        self.runs: list[Run] = []
        self.composed = False
        self.previews = previews
        self._settings: list[Config] = []
        self._signatures: list[str] = []
        self._options = _options(arguments)
        self._is_trusted = WORD in arguments
        self._sweep: Sweep | None = None
        self._process = os.getpid()

    def __enter__(self) -> App:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        sweep, self._sweep = self._sweep, None
        if sweep:
            sweep.__exit__(kind, error, traceback)

    def check(self, configs: Sequence[DictConfig]) -> None:
        """Check composed configurations and their data, for a launcher that trains them one by one."""
        settings = self._settle(configs)
        from rich.console import Console

        from harness.sweep.display import Display
        from harness.sweep.plan import prepare

        display = Display(Console())
        self._signatures = [run.signature for run in prepare(settings, display.reading)]
        display.clear()

    def train(self, jobs: Sequence[DictConfig], folder: Path | None) -> list[Run]:
        """Train composed jobs together and return their runs, in order; all calls are one sweep."""
        settings = self._settle([task_config(job) for job in jobs])
        if self.previews:
            self._settings += settings
            return []
        from rich.console import Console

        from harness.sweep import runner
        from harness.sweep.display import Display

        if self._sweep is None:
            display = Display(Console())
            self._sweep = runner.Sweep(display, command=self.command, folder=folder, signatures=self._signatures)
        try:
            runs = self._sweep.train(settings, [self._command_of(job) for job in jobs])
            self.runs += runs
            if os.getpid() != self._process:
                self.__exit__(None, None, None)  # In a worker of another launcher nobody else ends it.
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return runs

    def preview(self) -> None:
        """Say what training all the jobs so far would be."""
        from rich.console import Console

        from harness.sweep.display import Display
        from harness.sweep.preview import preview

        if self._settings:
            console = Console()
            preview(self._settings, Display(console), console)

    def _command_of(self, job: DictConfig) -> str:
        """Return the command that trains a job alone."""
        words = ["harness", "train", *self._options, *job.hydra.overrides.task]
        if job.hydra.runtime.choices.get("sweep"):
            words.append("hydra.mode=RUN")  # What it chooses may hold more than axes.
        return shlex.join(words)

    def _settle(self, configs: Sequence[DictConfig]) -> list[Config]:
        self.composed = True
        settings = [to_config(config) for config in configs]
        for cache in {config.runtime.cache for config in settings}:
            _check_folder("runtime.cache", cache)
        targets = {} if self._is_trusted else dict.fromkeys(config.model["_target_"] for config in settings)
        check_packages(targets)
        tune_malloc()
        import_tensorflow()
        freeze_gc()
        check_functions(targets)
        return settings


def run(arguments: Sequence[str]) -> list[Run]:
    """Run the Hydra application with the command line's words; return the ended runs.

    Raises:
        ConfigError: The words, a configuration or the data cannot be used; nothing was trained.
    """
    return _run(App(arguments), arguments)


def plan(arguments: Sequence[str]) -> None:
    """Say what `run` would do; raises as it does."""
    with tempfile.TemporaryDirectory() as folder:  # Of Hydra's own files.
        places = [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]
        app = App(arguments, previews=True)
        _run(app, [*arguments, *places])
        app.preview()


def _run(app: App, arguments: Sequence[str]) -> list[Run]:
    errors: list[Exception] = []

    def task(config: DictConfig) -> float:
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.sweep.dir) if hydra_config.mode is RunMode.MULTIRUN else None
        hide_passwords(folder, SWEEP_FILES)
        hide_passwords(folder_of_job(hydra_config), JOB_FILES)
        job = config.copy()
        with open_dict(job):
            job.hydra = hydra_config
        try:
            ended = [] if errors else app.train([job], folder)
            return ended[0].objective if ended else math.inf
        except Exception as error:
            # It is raised below: Hydra would go on with the next job, and put words of its own before ours.
            errors.append(error)
            return math.inf

    add_cwd_to_path()
    task.app = app  # type: ignore[attr-defined]  # The sweeper and the launcher find it there.
    ConfigStore.instance().store("schema", Config)
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    argv = sys.argv
    try:
        # Hydra would print errors and exit in its own way; this makes it raise them.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        # Hydra's parser takes options at one place only, and -m is written anywhere.
        words = [word for word in arguments if word != WORD]
        sys.argv = ["harness train", *sorted(words, key=lambda word: word not in ("-m", "--multirun"))]
        with reduce_gc(), logged_without_passwords(), app:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
            if errors:
                raise errors[0]
    except (HydraException, OmegaConfBaseException) as error:
        if full_error == "1":
            raise
        raise ConfigError(explain(error)) from error
    except (OSError, ValueError) as error:
        if full_error == "1" or app.composed or isinstance(error, BrokenPipeError):
            raise
        raise ConfigError(f"Hydra expected words and folders that it can use. Received: {error}.") from error
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
    return app.runs


def to_config(config: DictConfig) -> Config:
    """Return a composed configuration as the dataclass that the library sees, checked."""
    try:
        settings: Any = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        origin = OmegaConf.select(config, "data.origin")
        remedy = f" Get it from {origin}." if error.full_key == "data.path" and origin else ""
        raise ConfigError(
            f"{error.full_key} expected a value. Received: none.{remedy} Set {error.full_key}=VALUE."
        ) from error
    check_keys(settings)
    return settings


def _options(arguments: Sequence[str]) -> list[str]:
    """Return those among the words of a call that any job of it needs: where configurations lie, and trust."""
    found = [WORD] if WORD in arguments else []
    for word, following in itertools.pairwise([*arguments, ""]):
        name, equals, _ = word.partition("=")
        if name in ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"):
            found += [word] if equals else [word, following]
    return found


def _check_folder(key: str, folder: str) -> None:
    """Refuse a folder that cannot be made or written to."""
    path = Path(folder).absolute()
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    require(there.is_dir() and os.access(there, os.W_OK), f"{key} expected a folder that can be written to", path)
